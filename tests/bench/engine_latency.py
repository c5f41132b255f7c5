"""Times a model file in `edge-infer bench` and in onnxruntime, in turn, on the same machine.

    cargo build --release --workspace --bins
    python tests/bench/engine_latency.py --edge-infer target/release/edge-infer \\
        --model models/fundus-small-0.1.onnx --threads 1 --rounds 5

A round runs each engine once in a fresh process with the same number of threads, the order changing
from round to round: some runs to warm up, then the timed ones, all on the picture that edge-infer
draws. onnxruntime's threads do not spin while they wait. For a file whose maps are signed bytes,
onnxruntime runs a second time on a copy whose maps are unsigned bytes: its fastest form on x86. Where a
map's zero point is -128, all is 128 higher in the copy and the values are the same. Where it is 0 (128
levels) it stays 0, because onnxruntime computes a ReLU in integers only when nothing lies below the zero
point; what the file cuts off at level 127 goes on to 255 there, so masks may differ a little more.

Printed are for each engine the median over the rounds (and the smallest and largest) of a round's
median latency, its CPU time a run and the peak memory of its process, edge-infer's figures over
onnxruntime's round by round, and in how many pixels masks at 0.5 differ. onnxruntime's memory is
that of a process that loads numpy and onnxruntime, as any user of its Python package has.

On a busy machine CPU time is disturbed less than latency. Needs numpy, onnx and onnxruntime.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

OUTPUTS = ["glaucoma", "disc", "cup", "fovea"]
WARM_UP_RUNS = 3


def unsigned_maps(source, target):
    """Writes a copy of a file whose signed maps are unsigned; False when it has no signed maps."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    # The zero points of what is quantised in the graph itself are the maps'; stored weights have
    # their own and stay signed.
    quantised = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    made = {node.output[0] for node in quantised}
    reading = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in made]
    renamed = set()
    for node in quantised + reading:
        tensor = constants[node.input[2]]
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.int8:
            continue
        name = tensor.name + ".unsigned"
        if name not in renamed:
            up = 128 if values.min() < 0 else 0
            shifted = (values.astype(np.int16) + up).astype(np.uint8)
            graph.initializer.append(numpy_helper.from_array(shifted, name))
            renamed.add(name)
        node.input[2] = name
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    onnx.save(model, target)
    return bool(renamed)


def run_onnxruntime(model, picture, answer, threads, runs):
    """In a process of its own: times `runs` runs and prints one JSON line."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    feed = {entry.name: np.fromfile(picture, dtype="<f4").reshape(entry.shape)}
    for _ in range(WARM_UP_RUNS):
        outputs = session.run(OUTPUTS, feed)
    latencies, cpu = [], time.process_time()
    for _ in range(runs):
        start = time.perf_counter()
        session.run(OUTPUTS, feed)
        latencies.append(1e3 * (time.perf_counter() - start))
    cpu = 1e3 * (time.process_time() - cpu) / runs
    np.concatenate([output.ravel() for output in outputs]).astype("<f4").tofile(answer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"latency": statistics.median(latencies), "cpu": cpu, "peak": peak}))


def measure_edge_infer(program, model, folder, threads, runs):
    command = [program, "bench", "--json", "--model", model, "--threads", threads, "--runs", runs]
    text = subprocess.run(
        [str(part) for part in [*command, "--tensors", folder]], capture_output=True, text=True
    )
    if text.returncode:
        sys.exit(text.stderr)
    record = json.loads(text.stdout)
    figures = {"latency": record["latency_ms"]["median"], "cpu": record["cpu_ms"]}
    return figures | {"peak": record["peak_rss_mib"]}, record


def measure_onnxruntime(model, folder, answer, threads, runs):
    command = [sys.executable, __file__, "--onnxruntime", folder / "input.f32", answer]
    command += ["--model", model, "--threads", threads, "--runs", runs]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    text = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment
    )
    if text.returncode:
        sys.exit(text.stderr)
    return json.loads(text.stdout)


def spread(values, digits):
    median, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})"


def compare_masks(side, ours, theirs):
    """Pixels that differ at 0.5, map by map."""
    import numpy as np

    a, b = (np.fromfile(path, dtype="<f4")[1:].reshape(3, side, side) for path in (ours, theirs))
    differing = ((a >= 0.5) != (b >= 0.5)).sum(axis=(1, 2))
    pixels = ", ".join(f"{name} {n}" for name, n in zip(OUTPUTS[1:], differing))
    return f"{pixels} of {side * side}; largest difference {np.abs(a - b).max():.2g}"


def report(found, record, folder):
    board = record["board"]
    print(
        f"{record['model']['name']} {record['model']['version']}, {record['engine']['arithmetic']},"
        f" {record['engine']['instructions']}, {record['engine']['threads']} thread(s);"
        f" {board['name'] or 'board not exposed'}, {board['cpu']}, load {board['load']}\n"
    )
    print("| engine | latency, ms | CPU a run, ms | peak memory, MiB |")
    print("|---|---|---|---|")
    for name, rounds in found.items():
        cells = [spread([r[key] for r in rounds], 1) for key in ("latency", "cpu", "peak")]
        print(f"| {name} | {' | '.join(cells)} |")
    ours = found["edge-infer"]
    others = [name for name in found if name != "edge-infer"]
    for name in others:
        ratios = [
            spread([a[key] / b[key] for a, b in zip(ours, found[name])], 2)
            for key in ("latency", "cpu", "peak")
        ]
        print(f"| edge-infer / {name} | {' | '.join(ratios)} |")
    print("\nPixels whose mask differs at 0.5:")
    for name in others:
        masks = compare_masks(record["model"]["side"], folder / "output.f32", folder / name)
        print(f"- edge-infer against {name}: {masks}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge-infer", metavar="BIN", type=pathlib.Path, help="the built program")
    parser.add_argument("--model", metavar="FILE.onnx", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="timed runs a round and engine")
    parser.add_argument(
        "--onnxruntime", nargs=2, metavar=("INPUT", "ANSWER"), help="run only onnxruntime, here"
    )
    a = parser.parse_args()
    if a.onnxruntime:
        return run_onnxruntime(a.model, *a.onnxruntime, a.threads, a.runs)
    if not a.edge_infer:
        parser.error("--edge-infer is needed")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = {"onnxruntime": a.model}
        if unsigned_maps(a.model, folder / "unsigned.onnx"):
            files["onnxruntime, unsigned"] = folder / "unsigned.onnx"
        # Its first run draws the picture that all others read.
        measure_edge_infer(a.edge_infer, a.model, folder, a.threads, 1)
        found = {name: [] for name in ["edge-infer", *files]}
        for at in range(a.rounds):
            for name in sorted(found, reverse=at % 2 == 1):
                if name == "edge-infer":
                    figures, record = measure_edge_infer(
                        a.edge_infer, a.model, folder, a.threads, a.runs
                    )
                else:
                    figures = measure_onnxruntime(
                        files[name], folder, folder / name, a.threads, a.runs
                    )
                found[name].append(figures)
        report(found, record, folder)


main()
