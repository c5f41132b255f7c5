"""Writes small pictures of many kinds and pictures.json: what Pillow makes of them.

Needs numpy and Pillow. Run: python3 make_pictures.py
Interlaced and 16-bit colour PNG, which Pillow does not write, are written here by hand.
"""

import io
import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 160, 128


def scene():
    """A smooth picture with a bright disc: red falls to the right, blue grows downwards."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    disc = 60 * np.exp(-((x - 100) ** 2 + (y - 50) ** 2) / 200)
    red = 220 - x * 0.7
    green = 60 + 40 * np.sin(x / 20) + disc
    blue = 10 + y * 0.5 + disc
    return np.clip(np.stack([red, green, blue], axis=2), 0, 255).round().astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array, colour, depth, interlaced):
    """A PNG whose rows hold the difference to the row above; `array` is (rows, columns, channels), uint8 or uint16."""
    height, width = array.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x0, y0, dx, dy in passes:
        above = 0
        for row in array[y0::dy, x0::dx]:
            row = np.frombuffer(row.astype(">u2" if depth == 16 else "u1").tobytes(), np.uint8)
            rows += b"\2" + (row - above).astype(np.uint8).tobytes()
            above = row
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def main():
    rgb = scene()
    picture = Image.fromarray(rgb)
    grey = picture.convert("L")
    alpha = np.dstack([rgb, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    alpha[:, :40, 3] = 0
    alpha[:, 40:80, 3] = 128
    # High byte as in the 8-bit picture, low byte equal: value * 257, exact either way.
    deep = rgb.astype(np.uint16) * 257
    files = {
        "baseline.jpg": encoded(picture, format="JPEG", quality=90, subsampling=2),
        "progressive.jpg": encoded(picture, format="JPEG", quality=90, progressive=True),
        "grey.jpg": encoded(grey, format="JPEG", quality=90),
        "cmyk.jpg": encoded(picture.convert("CMYK"), format="JPEG", quality=60),
        "rgb.png": encoded(picture, format="PNG", optimize=True),
        "grey.png": encoded(grey, format="PNG", optimize=True),
        "palette.png": encoded(picture.quantize(16), format="PNG", optimize=True),
        "alpha.png": encoded(Image.fromarray(alpha), format="PNG", optimize=True),
        "interlaced.png": png(rgb, 2, 8, True),
        "deep.png": png(deep, 2, 16, False),
        "deep_grey.png": png(deep[:, :, :1], 0, 16, False),
    }
    truth = {}
    for name, data in files.items():
        (HERE / name).write_bytes(data)
        if name == "deep.png" or name == "deep_grey.png":
            expected = rgb if name == "deep.png" else np.repeat(rgb[:, :, :1], 3, axis=2)
        elif name == "alpha.png":
            black = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 255))
            expected = np.asarray(Image.alpha_composite(black, Image.open(io.BytesIO(data))).convert("RGB"))
        else:
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        probes = [(x, y) for y in range(4, HEIGHT, 24) for x in range(4, WIDTH, 24)]
        truth[name] = {
            "mean": expected.reshape(-1, 3).mean(axis=0).tolist(),
            "probes": [[x, y, *map(int, expected[y, x])] for x, y in probes],
        }
    # The antialiased bilinear filter, from a box with broken edges.
    resized = []
    for box, side in [((4.25, 7.5, 123.75, 120.5), 32), ((0, 0, WIDTH, HEIGHT), 20), ((40.5, 30.25, 60.5, 50.25), 48)]:
        small = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
        resized.append({"box": list(box), "side": side, "pixels": small.tobytes().hex()})
    (HERE / "pictures.json").write_text(json.dumps({"files": truth, "resized": resized}) + "\n")


if __name__ == "__main__":
    main()
