"""Runs the device program over photographs in an S3-compatible server (moto).

Usage: python archive_s3.py PROGRAM

PROGRAM is `edge-infer` built with the feature `cloud`. Puts photographs into a bucket, with names
that need quoting, one damaged and one that is no photograph, and checks: two shards at once cover
everything once, with the objects' own hashes; a killed shard is gone on with and gives what an
undisturbed one does; a complete one does nothing; a replaced object is examined again; a listing of
URLs; a missing object, bucket and prefix. Prints one line a check and `SKIPPED` when moto or boto3
is missing.
"""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

try:
    import boto3
    from moto.server import ThreadedMotoServer
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "edge-infer/tests/fixtures/colour_rules.onnx"
RETINA = (ROOT / "tests/data/retina.jpg").read_bytes()
COUNT = 40


def objects():
    """Photographs that differ in a comment behind the JPEG's first marker, and what else lies about."""
    found = {}
    for number in range(COUNT):
        comment = b"photograph %d" % number
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        name = f"camp {number % 3}/e\u0301ye#{number}%20+.jpg"
        found[name] = RETINA[:2] + marker + RETINA[2:]
    found["damaged.JPEG"] = RETINA[:5000]
    return found


class Screen:
    def __init__(self, program, endpoint, folder):
        self.program, self.folder = program, folder
        self.environment = os.environ | {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def start(self, *args):
        command = [self.program, "screen", "--model", MODEL, *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *args):
        process = self.start(*args)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err


def lines(path):
    """A part's lines without what differs from run to run."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for line in found:
        del line["timing_ms"]
    return found


def check(name, holds, detail=""):
    print("ok" if holds else "FAILED", name, detail if not holds else "", flush=True)
    if not holds:
        sys.exit(1)


def two_shards(screen, content):
    parts = screen.folder / "two"
    runs = [screen.start("s3://photos/2026", "--parts", parts, "--shard", f"{i}/2") for i in (0, 1)]
    said = [run.communicate(timeout=600) for run in runs]
    check("exit codes", sorted(run.returncode for run in runs) == [0, 2], said)
    found = [line for i in (0, 1) for line in lines(parts / f"part-0000{i}-of-00002.jsonl")]
    hashes = sorted(line["sha256"] for line in found)
    expected = sorted(hashlib.sha256(data).hexdigest() for data in content.values())
    check("two processes cover everything once", hashes == expected, found)
    check("names are URLs", all(line["file"].startswith("s3://photos/2026/") for line in found))
    code, out, err = screen.run("s3://photos/2026", "--parts", parts, "--shard", "0/2")
    check("a complete shard does nothing", code == 0 and "nothing to do" in out, out + err)
    return found


def killed_and_replaced(screen, client):
    parts, whole = screen.folder / "killed", "part-00000-of-00001.jsonl"
    run = screen.start("s3://photos/2026/", "--parts", parts)
    partial = parts / (whole + ".partial")
    while not partial.exists() or partial.stat().st_size < 3000:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    check("killed before the end", not (parts / whole).exists())
    code, out, err = screen.run("s3://photos/2026/", "--parts", parts)
    examined = int(out.split(";")[1].split()[0])
    check("a restart goes on", code == 2 and 0 < examined < COUNT, out + err)
    undisturbed = screen.folder / "undisturbed"
    screen.run("s3://photos/2026/", "--parts", undisturbed)
    same = lines(parts / whole) == lines(undisturbed / whole)
    check("and gives what an undisturbed run does", same)

    (parts / whole).rename(partial)
    name = "2026/camp 0/e\u0301ye#0%20+.jpg"
    client.put_object(Bucket="photos", Key=name, Body=RETINA)
    code, out, err = screen.run("s3://photos/2026", "--parts", parts)
    found = [line for line in lines(parts / whole) if line["file"].endswith("%230%2520+.jpg")]
    once = [line["sha256"] for line in found] == [hashlib.sha256(RETINA).hexdigest()]
    check("a replaced object is examined again, alone", once and "1 examined" in out, (out, err, found))


def listing(screen, found):
    names = [line["file"] for line in found[:5]]
    path = screen.folder / "listing"
    path.write_text("\n".join([*names, "s3://photos/2026/gone.jpg", "s3://nowhere/a.jpg"]))
    parts = screen.folder / "listed"
    for _again in range(2):
        code, out, err = screen.run("--listing", path, "--parts", parts)
        part = lines(parts / "part-00000-of-00001.jsonl.partial")
        kept = {line["file"]: line["sha256"] for line in part}
        good = all(kept[line["file"]] == line["sha256"] for line in found[:5])
        check("URLs of a listing, twice", code == 2 and good and len(kept) == 7, (part, err))
    check("the second time only what failed", "2 examined" in out, out)
    for url in ("s3://nowhere/2026", "s3://photos/2025"):
        code, out, err = screen.run(url, "--json")
        told = [line for line in err.splitlines() if line.startswith("error:")]
        said = json.loads(out)["status"] == "error" and len(told) == 1
        check(f"{url} is told", code == 2 and said, out + err)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="photos")
    content = objects()
    for name, data in content.items():
        client.put_object(Bucket="photos", Key=f"2026/{name}", Body=data)
    client.put_object(Bucket="photos", Key="2026/notes.txt", Body=b"no photograph")
    client.put_object(Bucket="photos", Key="2026/.hidden/a.jpg", Body=RETINA)
    client.put_object(Bucket="photos", Key="20260/other.jpg", Body=RETINA)
    with tempfile.TemporaryDirectory() as folder:
        screen = Screen(program, endpoint, pathlib.Path(folder))
        found = two_shards(screen, content)
        listing(screen, found)
        # Last, because it replaces an object.
        killed_and_replaced(screen, client)
    server.stop()


main()
