#!/usr/bin/env python3
"""What `edge-infer journal export` writes, read by others: PDF by pypdf, PyMuPDF, qpdf and poppler, DICOM by pydicom
and DCMTK, FHIR by fhir.resources.

    pip install pypdf pymupdf pillow numpy pydicom fhir.resources
    tests/interop/reports.py target/release/edge-infer

A day is played in a temporary folder: the photograph that travels along as a left eye, mirrored as a right one. The
page as PDF must look like the page as PNG: the drawing alike, the photographs but for what JPEG loses. qpdf, pdftoppm and dcmdump are skipped, and said to be, where they are not installed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pymupdf
import numpy as np
import pydicom
import pypdf
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPH = ROOT / "tests/data/retina.jpg"
PIN = "222222"
LANGUAGES = ["en", "hi", "es", "fr", "pt", "ar", "sw", "am"]
DAY = ["camera on", "button ok"] + ["button down"] * 3 + ["button ok"] * len(PIN) + ["button up"] * 3 + [
    "button ok", "button ok", "button ok", "button ok", f"photograph {PHOTOGRAPH}", "button down", "button ok",
    "button ok", "photograph right.png", "button ok", "button ok"]


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        camp = Camp(Path(program).resolve(), Path(folder))
        for language in LANGUAGES:
            pages(camp.export(f"pages-{language}", "pdf,png", "--language", language))
        for name, more in [("open", []), ("hidden", ["--without-identity", "--pixels-name-nobody"])]:
            out = camp.export(name, "csv,json,fhir,dicom,pdf,png", *more)
            pages(out)
            objects = dicom(out)
            transactions(out, objects)
    print("all held")


class Camp:
    """A device in a folder, on which one person was examined."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        at = {key: json.dumps(str(folder / name))
              for key, name in [("folder", "journal"), ("device_secret", "secret"), ("output", "")]}
        config = "\n".join(["[camp]", 'sites = ["Huye"]', "threshold = 0.5", "[journal]"] + [f"{key} = {path}" for key, path in at.items()])
        (folder / "config.toml").write_text(config)
        ImageOps.mirror(Image.open(PHOTOGRAPH)).save(folder / "right.png")
        (folder / "day.script").write_text("\n".join(DAY) + "\n")
        key = self.run("journal", "recovery-key", "--private", str(folder / "private.key")).strip()
        self.run("journal", "found", "--operator", "Asha", "--recovery-key", key,
                 "--recovery-box", str(folder / "recovery.box"))
        self.run("kiosk", "--display", f"png:{folder / 'screens'}", "--input", f"script:{folder / 'day.script'}")

    def run(self, command, *args):
        command = [self.program, command, "--config", self.folder / "config.toml", *args]
        done = subprocess.run(command, cwd=ROOT, input=PIN + "\n", capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{args}: {done.stderr}")
        return done.stdout

    def export(self, name, formats, *more):
        out = self.folder / name
        self.run("journal", "export", "--operator", "Asha", "--out", str(out), "--format", formats, *more)
        return out


def pages(out):
    for pdf in sorted(out.glob("reports/*.pdf")):
        page, = pypdf.PdfReader(pdf, strict=True).pages
        width, height = (float(side) / 72 * 25.4 for side in page.mediabox[2:])
        assert abs(width - 210) < 0.5 and abs(height - 297) < 0.5, f"{width} x {height} mm is not A4"
        drawn = np.asarray(Image.open(pdf.with_suffix(".png")).convert("RGB")).astype(int)
        rendered, photographs = mupdf(pdf)
        compare(drawn, rendered, photographs, "PyMuPDF")
        renderers = ["PyMuPDF"]
        if shutil.which("pdftoppm"):
            compare(drawn, poppler(pdf), photographs, "poppler")
            renderers.append("poppler")
        else:
            print("SKIPPED: pdftoppm is not installed")
        if shutil.which("qpdf"):
            subprocess.run(["qpdf", "--check", pdf], check=True, capture_output=True)
        else:
            print("SKIPPED: qpdf is not installed")
        print(f"{out.name}: {pdf.stat().st_size} bytes, looks as its PNG in {', '.join(renderers)}")


def mupdf(pdf):
    """The page's pixels, and which of them lie in a photograph: in an image other than the drawing."""
    page = pymupdf.open(pdf)[0]
    pixels = page.get_pixmap(dpi=200)
    rendered = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, pixels.n)
    photographs = np.zeros(rendered.shape[:2], bool)
    for image in page.get_images()[1:]:
        for box in page.get_image_rects(image[0]):
            left, top, right, bottom = (round(side / 72 * 200) for side in box)
            # A renderer may draw an image's edge into the pixel beside it.
            photographs[top - 1:bottom + 1, left - 1:right + 1] = True
    return rendered[..., :3].astype(int), photographs


def poppler(pdf):
    target = pdf.with_suffix("")
    subprocess.run(["pdftoppm", "-r", "200", "-png", "-singlefile", pdf, f"{target}-poppler"], check=True)
    return np.asarray(Image.open(f"{target}-poppler.png").convert("RGB")).astype(int)


def compare(drawn, rendered, photographs, renderer):
    assert rendered.shape == drawn.shape, f"{renderer}: {rendered.shape} instead of {drawn.shape}"
    off = np.abs(rendered - drawn).max(axis=2)
    words, pictures = off[~photographs], off[photographs]
    assert (words > 8).mean() == 0, f"{renderer}: {(words > 8).sum()} pixels of the drawing differ"
    assert pictures.size == 0 or pictures.mean() < 4, f"{renderer}: photographs differ by {pictures.mean():.1f}"
    turned = np.abs(rendered[::-1] - drawn).max(axis=2)[~photographs]
    assert (turned > 0).mean() > 0.05, "the comparison would not see a page upside down"


def dicom(out):
    found = {}
    for path in sorted(out.glob("dicom/*.dcm")):
        object = pydicom.dcmread(path)
        assert path.stem == object.SOPInstanceUID == object.file_meta.MediaStorageSOPInstanceUID
        if not object.file_meta.TransferSyntaxUID.is_compressed:
            assert object.pixel_array.shape == (object.Rows, object.Columns, 3)
        if shutil.which("dcmdump"):
            subprocess.run(["dcmdump", "-q", path], check=True, capture_output=True)
        else:
            print("SKIPPED: dcmdump is not installed")
        found[object.SOPInstanceUID] = object
    kinds = sorted(f"{object.SOPClassUID.name}, {object.ImageLaterality}" for object in found.values())
    print(f"{out.name}: {kinds}")
    assert len(kinds) == 4 and len({object.StudyInstanceUID for object in found.values()}) == 1
    for object in found.values():
        if "SourceImageSequence" in object:
            assert object.SourceImageSequence[0].ReferencedSOPInstanceUID in found, "a result without its photograph"
        elif object.ImageLaterality == "L":
            frame = object.PixelData[object.PixelData.index(b"\xff\xd8"):]
            whole = PHOTOGRAPH.read_bytes()
            assert out.name == "hidden" or frame[:len(whole)] == whole, "the JPEG changed"
    return found


def transactions(out, objects):
    validator = ROOT / "edge-infer/exchange/tests/interop/fhir_validate.py"
    for path in sorted(out.glob("fhir/*.json")):
        subprocess.run([sys.executable, validator, path], check=True)
        bundle = json.loads(path.read_text())
        study, = (entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "ImagingStudy")
        uids = {instance["uid"] for instance in study["series"][0]["instance"]}
        assert uids <= set(objects), "FHIR names photographs that DICOM does not"
        anyone = next(iter(objects.values()))
        assert study["identifier"][0]["value"] == f"urn:oid:{anyone.StudyInstanceUID}"
        patient, = (entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient")
        assert patient["identifier"][0]["value"] == anyone.PatientID


if __name__ == "__main__":
    main(sys.argv[1])
