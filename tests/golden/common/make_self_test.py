"""Prints the SHA-256 of the self-test's picture (common/src/self_test.rs) at two sides.

Written from that file's description of the picture, with numpy's integers. Needs numpy; with a path
as its argument it also needs Pillow, and writes the larger picture there to be looked at.
"""

import hashlib
import sys

import numpy as np


def hill(dx, dy, width, height, top):
    inside = 1024 - trunc(1024 * dx * dx, width * width) - trunc(1024 * dy * dy, height * height)
    return np.minimum(4 * top * np.maximum(inside, 0) // 1024, top)


def trunc(a, b):
    """Division towards zero, as in Rust."""
    return np.sign(a) * (np.abs(a) // b)


def picture(side):
    y, x = np.mgrid[0:side, 0:side].astype(np.int64)
    u32 = np.uint64(0xFFFFFFFF)
    h = (x.astype(np.uint64) * 0x9E3779B9 & u32) ^ (y.astype(np.uint64) * 0x85EBCA6B & u32)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & u32
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & u32
    grain = ((h ^ (h >> 16)) % 7).astype(np.int64) - 3
    x, y = (2 * x + 1) * 1024 // (2 * side), (2 * y + 1) * 1024 // (2 * side)
    from_middle = (x - 512) ** 2 + (y - 512) ** 2
    shade = 40 * from_middle // 490**2
    disc = hill(x - 690, y - 500, 82, 92, 90)
    cup = hill(x - 695, y - 502, 44, 50, 70)
    fovea = hill(x - 410, y - 535, 95, 95, 45)
    arcs = [np.abs(x - (690 - (y - 500) ** 2 // bend)) < half * (1 + np.abs(y - 500) // 160)
            for bend, half in [(300, 9), (620, 6)]]
    vessel = 38 * (arcs[0] | arcs[1])
    channels = [
        168 - shade + disc // 2 + cup // 4 - fovea - vessel,
        84 - shade // 2 + disc + cup // 2 - fovea // 2 - vessel,
        46 - shade // 4 + disc // 2 + cup - fovea // 3 - vessel // 2,
    ]
    levels = [np.clip(np.maximum(level, 1) + grain, 0, 255) for level in channels]
    inside = from_middle <= 490**2
    return np.stack([np.where(inside, level, 0) for level in levels], axis=-1).astype(np.uint8)


for side in (192, 256):
    print(side, hashlib.sha256(picture(side).tobytes()).hexdigest())
if len(sys.argv) > 1:
    from PIL import Image

    Image.fromarray(picture(256)).save(sys.argv[1])
