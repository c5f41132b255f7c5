"""Pictures as (width, height, RGB bytes): read, written and compared with what Python itself has."""

import struct
import zlib


def compare(name, seen, drawn, folder):
    """Says that two pictures are the same; where they are not, writes both into the folder and fails."""
    if seen[:2] != drawn[:2]:
        raise AssertionError(f"{name}: {seen[:2]} instead of {drawn[:2]}")
    pixels = seen[0] * seen[1]
    differ = sum(seen[2][3 * at:3 * at + 3] != drawn[2][3 * at:3 * at + 3] for at in range(pixels))
    if differ:
        write_png(f"{folder}/seen.png", seen)
        write_png(f"{folder}/drawn.png", drawn)
        raise AssertionError(f"{name}: {differ} of {pixels} pixels differ; see {folder}")
    print(f"{name}: {seen[0]}x{seen[1]}, all pixels the same", flush=True)


def read_ppm(path):
    with open(path, "rb") as file:
        kind, size, depth, pixels = file.read().split(b"\n", 3)
    assert (kind, depth) == (b"P6", b"255")
    width, height = map(int, size.split())
    return width, height, pixels


def write_png(path, picture):
    width, height, pixels = picture
    rows = b"".join(b"\0" + pixels[3 * width * row:3 * width * (row + 1)] for row in range(height))
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)))
        file.write(chunk(b"IEND", b""))


def read_png(path):
    """An RGB PNG file of 8 bits, after the PNG specification (third edition), section 9."""
    with open(path, "rb") as file:
        data = file.read()
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
            assert (depth, color) == (8, 2)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    raw, stride = zlib.decompress(packed), 3 * width
    before, pixels = bytearray(stride), bytearray()
    for row in range(height):
        begin = row * (stride + 1)
        line = unfiltered(raw[begin], bytearray(raw[begin + 1:begin + 1 + stride]), before)
        pixels += line
        before = line
    return width, height, bytes(pixels)


def unfiltered(kind, line, above):
    for at in range(len(line)) if kind else ():
        left = line[at - 3] if at >= 3 else 0
        up, corner = above[at], above[at - 3] if at >= 3 else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            near = [(abs(up - corner), left), (abs(left - corner), up), (abs(left + up - 2 * corner), corner)]
            guess = min(near, key=lambda pair: pair[0])[1]
        line[at] = (line[at] + guess) & 255
    return line
