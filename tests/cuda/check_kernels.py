"""Checks the arithmetic of the GPU's kernels on the processor, against PyTorch in double precision.

    python tests/cuda/check_kernels.py

`kernels.cu`, as it is, is compiled as C++ (`processor.h` gives it blocks, threads and barriers) and
each kernel's result compared. Needs g++, NumPy and PyTorch, and no GPU: what it cannot show is how
fast they are, and anything that depends on threads truly running at once.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "host-train/src/network/cuda/kernels.cu"
SPAN, STRETCH = 1024, 8192

text = SOURCE.read_text()
KERNELS = {
    name: ["*" in p and "address" or p.split()[0] for p in parameters.split(",")]
    for name, parameters in re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', text)
}
called = set()


def build(folder):
    library = f"{folder}/kernels.so"
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    subprocess.run(["g++", *flags, "-shared", "-fPIC", str(HERE / "emulate.cpp"), "-o", library], check=True)
    return ctypes.CDLL(library)


def launch(name, grid, *arguments):
    kinds = KERNELS[name]
    assert len(kinds) == len(arguments), name
    values = []
    for kind, argument in zip(kinds, arguments):
        if kind == "address":
            values.append(ctypes.c_void_p(argument if isinstance(argument, int) else argument.ctypes.data))
        else:
            values.append({"uint32": ctypes.c_uint, "float": ctypes.c_float}[kind](argument))
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
    assert LIBRARY.launch(name.encode(), *grid, pointers) == 0, name
    called.add(name)


def noise(*shape, seed=1, scale=1.0, shift=0.0):
    draw = np.random.default_rng(seed).standard_normal(shape)
    return np.ascontiguousarray(draw * scale + shift, dtype=np.float32)


def empty(*shape, dtype=np.float32):
    # What a kernel forgets to write stays NaN.
    return np.full(shape, np.nan, dtype=dtype)


def blocks(n, each):
    return -(-n // each)


def agree(what, got, wanted, tolerance):
    got = np.asarray(got, dtype=np.float64)
    wanted = np.asarray(wanted.detach() if torch.is_tensor(wanted) else wanted, dtype=np.float64)
    error = np.linalg.norm(got.ravel() - wanted.ravel()) / max(np.linalg.norm(wanted), 1e-30)
    print(f"  {what:42} {error:9.1e}")
    if not error <= tolerance:
        sys.exit(f"{what}: off by {error:e}, more than {tolerance:e}")


def double(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def norm(batch, channels, height, width, shift):
    n = height * width
    # The last channel is constant: its variance is 0.
    x = noise(batch, channels, height, width, seed=2, shift=shift)
    x[:, -1] = 0.25
    g = noise(batch, channels, height, width, seed=3)
    weight, bias = noise(channels, seed=4, shift=1), noise(channels, seed=5)
    offset, mean, var = noise(channels, seed=6), noise(channels, seed=7), noise(channels, seed=8) ** 2
    tx, tw, tb = double(x), double(weight), double(bias)
    tmean, tvar = double(mean).detach(), double(var).detach()

    grid, parts = (batch * channels, blocks(n, SPAN)), batch * blocks(n, STRETCH)
    sums, moments, affine = empty(channels, parts, 2, dtype=np.float64), empty(channels, 2, dtype=np.float64), empty(channels, 2)
    launch("norm_sums", (channels, parts), sums, x, channels, n)
    own_mean, own_var = mean.copy(), var.copy()
    launch("norm_finish", (channels, 1), moments, affine, own_mean, own_var, sums, x, weight, bias, offset, parts, batch, n)
    y = empty(*x.shape)
    launch("norm_apply", grid, y, x, affine, channels, n)
    # The running mean knows the convolution's bias, and nothing else does.
    whole = tx + double(offset).detach()[:, None, None]
    ty = F.relu(F.batch_norm(whole, tmean, tvar, tw, tb, True, 0.1, 1e-5))
    agree("norm, training", y, ty, 2e-6)
    agree("norm, running mean", own_mean, tmean, 2e-7)
    agree("norm, running variance", own_var, tvar, 2e-6)

    ty.backward(torch.tensor(g, dtype=torch.float64))
    launch("norm_grad_sums", (channels, parts), sums, x, g, moments, affine, channels, n)
    to_weight, to_bias, terms, dx = empty(channels), empty(channels), empty(channels, 3), empty(*x.shape)
    launch("norm_grad_finish", (channels, 1), to_weight, to_bias, terms, sums, moments, weight, parts, batch, n, 1)
    launch("norm_grad_apply", grid, dx, x, g, affine, terms, channels, n)
    # A constant channel's dx is large and rounding noise decides it: apart.
    agree("norm, gradient of x", dx[:, :-1], tx.grad[:, :-1], 3e-6 * max(1, abs(shift)))
    agree("norm, gradient of weight", to_weight[:-1], tw.grad[:-1], 3e-6 * max(1, abs(shift)))
    agree("norm, gradient of bias", to_bias, tb.grad, 2e-6)

    for t in (tx, tw, tb):
        t.grad = None
    launch("norm_fixed", (blocks(channels, 256), 1), moments, affine, mean, var, weight, bias, offset, channels)
    launch("norm_apply", grid, y, x, affine, channels, n)
    ty = F.relu(F.batch_norm(tx + double(offset).detach()[:, None, None], double(mean).detach(), double(var).detach(), tw, tb, False, 0.1, 1e-5))
    agree("norm, fixed", y, ty, 2e-6)
    ty.backward(torch.tensor(g, dtype=torch.float64))
    launch("norm_grad_sums", (channels, parts), sums, x, g, moments, affine, channels, n)
    launch("norm_grad_finish", (channels, 1), to_weight, to_bias, terms, sums, moments, weight, parts, batch, n, 0)
    launch("norm_grad_apply", grid, dx, x, g, affine, terms, channels, n)
    agree("norm, fixed, gradient of x", dx, tx.grad, 2e-6)
    agree("norm, fixed, gradient of weight", to_weight, tw.grad, 3e-6 * max(1, abs(shift)))


def bias(batch, channels, height, width):
    n = height * width
    y, b = noise(batch, channels, height, width), noise(channels, seed=2)
    wanted = y.astype(np.float64) + b[:, None, None]
    parts = batch * blocks(n, STRETCH)
    sums, to_bias = empty(channels, parts, dtype=np.float64), empty(channels)
    launch("bias_grad_sums", (channels, parts), sums, y, channels, n)
    launch("bias_grad_finish", (channels, 1), to_bias, sums, parts)
    agree("bias, gradient", to_bias, y.astype(np.float64).sum((0, 2, 3)), 2e-6)
    launch("bias_add", (batch * channels, blocks(n, SPAN)), y, b, channels, n)
    agree("bias", y, wanted, 1e-7)


def pools(batch, channels, height, width, ties):
    n, outputs = height * width, (height // 2) * (width // 2)
    x = noise(batch, channels, height, width)
    if ties:
        x = np.round(x)
    tx = double(x)
    y, dx = empty(batch, channels, height // 2, width // 2), empty(*x.shape)
    launch("max_pool", (batch * channels, blocks(outputs, SPAN)), y, x, height, width)
    ty = F.max_pool2d(tx, 2)
    agree("max pool", y, ty, 0)
    g = noise(*y.shape, seed=2)
    ty.backward(torch.tensor(g, dtype=torch.float64))
    launch("max_pool_grad", (batch * channels, blocks(n, SPAN)), dx, x, g, height, width)
    agree("max pool, gradient", dx, tx.grad, 1e-7)

    tx.grad = None
    y = empty(batch, channels)
    launch("global_max", (batch * channels, 1), y, x, n)
    ty = F.adaptive_max_pool2d(tx, 1).flatten(1)
    agree("global max", y, ty, 0)
    g = noise(batch, channels, seed=3)
    ty.backward(torch.tensor(g, dtype=torch.float64))
    launch("global_max_grad", (batch * channels, 1), dx, x, g, n)
    # PyTorch may choose another one among equals; here it is the first.
    wanted = np.zeros((batch * channels, n))
    wanted[np.arange(batch * channels), x.reshape(-1, n).argmax(1)] = g.ravel()
    agree("global max, gradient", dx, wanted, 1e-7)
    if not ties:
        agree("global max, gradient, PyTorch's", dx, tx.grad, 1e-7)


def pools_with_nan():
    x = np.array([[1, np.nan], [2, 0]], dtype=np.float32)
    y = empty(1)
    launch("max_pool", (1, 1), y, x, 2, 2)
    assert np.isnan(y[0])
    x = noise(700)
    x[[333, 600]] = np.nan
    launch("global_max", (1, 1), y, x, 700)
    assert np.isnan(y[0])
    dx = empty(700)
    launch("global_max_grad", (1, 1), dx, x, np.ones(1, np.float32), 700)
    assert dx[333] == 1 and np.count_nonzero(dx) == 1


def joint(batch, deep_channels, skip_channels, height, width):
    deep, skip = noise(batch, deep_channels, height, width), noise(batch, skip_channels, 2 * height, 2 * width, seed=2)
    channels, n = deep_channels + skip_channels, height * width
    y = empty(batch, channels, 2 * height, 2 * width)
    launch("joint", (batch * channels, blocks(4 * n, SPAN)), y, deep, skip, deep_channels, skip_channels, height, width)
    td, ts = double(deep), double(skip)
    ty = torch.cat([F.interpolate(td, scale_factor=2, mode="bilinear", align_corners=True), ts], 1)
    agree("joint", y, ty, 3e-7)
    g = noise(*y.shape, seed=3)
    ty.backward(torch.tensor(g, dtype=torch.float64))
    to_deep, to_skip = empty(*deep.shape), empty(*skip.shape)
    launch("joint_grad_deep", (batch * deep_channels, blocks(n, SPAN)), to_deep, g, deep_channels, skip_channels, height, width)
    launch("joint_grad_skip", (batch * skip_channels, blocks(4 * n, SPAN)), to_skip, g, deep_channels, skip_channels, 4 * n)
    agree("joint, gradient of deep", to_deep, td.grad, 3e-7)
    agree("joint, gradient of skip", to_skip, ts.grad, 0)


def task_loss(kind, z, t):
    bce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    if kind == 0:
        return -torch.expm1(-bce) * -torch.expm1(-bce) * bce
    return bce if kind == 1 else (torch.sigmoid(z) - t).abs()


def losses(kind, batch, n):
    z, t = noise(batch, n, scale=3), np.abs(noise(batch, n, seed=2, scale=0.3)) % 1
    if kind == 0:
        t = np.round(t)
    t = t.astype(np.float32)
    weights = (1 + np.arange(batch, dtype=np.float32)) / 2
    if batch > 1:
        # No label: whatever it carries, nothing of it counts.
        weights[1], t[1], z[1, 0] = 0, np.nan, np.inf
    parts = batch * blocks(n, STRETCH)
    sums, loss, outer = empty(parts, dtype=np.float64), empty(1), np.array([0.7], np.float32)
    launch("loss_sums", (batch, parts // batch), sums, z, t, weights, kind, n)
    launch("loss_finish", (1, 1), loss, sums, weights, parts, batch, n)
    labelled = weights != 0
    tz, w = double(z[labelled]), torch.tensor(weights[labelled], dtype=torch.float64)[:, None]
    wanted = (task_loss(kind, tz, torch.tensor(t[labelled], dtype=torch.float64)) * w).sum() / (w.sum() * n)
    agree(f"loss {kind}", loss, wanted, 1e-6)
    (wanted * 0.7).backward()
    dz, halted = empty(batch, n), np.zeros(1, np.uint32)
    launch("loss_grad", (batch, blocks(n, SPAN)), dz, z, t, weights, loss, outer, halted, kind, batch, n)
    agree(f"loss {kind}, gradient", dz[labelled], tz.grad, 1e-6)
    assert not dz[~labelled].any() and halted[0] == 0
    for bad in (np.nan, np.inf):
        launch("loss_grad", (batch, blocks(n, SPAN)), dz, z, t, weights, np.array([bad], np.float32), outer, halted, kind, batch, n)
        assert halted[0] == 1
        halted[0] = 0
    launch("loss_finish", (1, 1), loss, sums, np.zeros(batch, np.float32), parts, batch, n)
    assert not np.isfinite(loss[0])


def bf16(n):
    # All magnitudes, halves between two neighbours, both signs of zero and what is no number.
    bits = np.random.default_rng(n).integers(0, 1 << 32, n, dtype=np.uint64).astype(np.uint32)
    bits[::3] = bits[::3] & 0xFFFF0000 | 0x8000
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-45, 1], np.float32).view(np.uint32)
    bits[: special.size] = special[:n]
    x = bits.view(np.float32)
    rounded, back = np.full(n, 0xFFFF, np.uint16), empty(n)
    launch("to_bf16", (blocks(n, SPAN), 1), rounded, x, n)
    launch("from_bf16", (blocks(n, SPAN), 1), back, rounded, n)
    wanted = torch.tensor(x).to(torch.bfloat16).to(torch.float32).numpy()
    number = ~np.isnan(wanted)
    assert np.isnan(back[~number]).all()
    assert (back.view(np.uint32)[number] == wanted.view(np.uint32)[number]).all()
    print(f"  bf16, {n} numbers, the same bits")


def batches(batch, side, labels):
    """Bytes to a batch; `labels` says which of disc, cup and fovea any image has."""
    rng, n, scale = np.random.default_rng(side), side * side, 1 / 255
    line = np.dtype([("pixels", "u8"), ("disc", "u8"), ("cup", "u8"), ("x", "f8"), ("y", "f8")])
    table, pixels = np.zeros(batch, dtype=line), rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, (2, batch, n), dtype=np.uint8)
    points = rng.uniform(-1, side, (batch, 2))
    outputs = [empty(batch, 3, side, side)] + [empty(batch, n) if has else None for has in labels]
    # Image b lacks the label of kind b % 3, and the last image all.
    has = np.array([[labels[kind] and b % 3 != kind and b + 1 < batch for b in range(batch)] for kind in range(3)])
    for b in range(batch):
        disc, cup = (masks[kind, b].ctypes.data if has[kind, b] else 0 for kind in range(2))
        table[b] = pixels[b].ctypes.data, disc, cup, *(points[b] if has[2, b] else (np.nan, np.nan))
    addresses = [0 if out is None else out for out in outputs]
    launch("show", (batch, blocks(n, SPAN)), *addresses, table, side, scale)
    assert (outputs[0] == pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(scale)).all()
    for kind in range(2):
        if labels[kind]:
            assert (outputs[1 + kind] == masks[kind] * has[kind][:, None]).all()
    if labels[2]:
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        at = torch.tensor(points)[:, :, None, None]
        squared = (x - at[:, 0]) ** 2 + (y - at[:, 1]) ** 2
        map_of = torch.exp(-squared / (2 * 50 * (side / 256) ** 2)) * torch.tensor(has[2])[:, None, None]
        agree("batch, map of the fovea", outputs[3], map_of, 1e-7)
        assert (outputs[3][~has[2]] == 0).all()
    print(f"  batch of {batch} at {side}: the same pixels and masks")


def adam():
    sizes, steps = [1, 5000, 1024, 1025, 7], 5
    values = [noise(n, seed=n) for n in sizes]
    parameters = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    optimiser = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.02)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    mean, square = np.zeros(starts[-1], np.float32), np.zeros(starts[-1], np.float32)
    slot = np.dtype([("p", "u8"), ("g", "u8"), ("start", "u8"), ("count", "u4"), ("first", "u4"), ("step", "f4"), ("root", "f4"), ("keep", "f4"), ("scale", "f4")])
    beta1, beta2, rate = 0.9, 0.999, 0.1

    def step(number, halted):
        gradients = [noise(n, seed=n + 100 * number, scale=10.0 ** (number - 3)) for n in sizes]
        table, block = [], 0
        for at, (p, g) in enumerate(zip(values, gradients)):
            # The second rests: without a gradient it is not in the table.
            if at == 1:
                continue
            scalars = rate / (1 - beta1**number), (1 - beta2**number) ** 0.5, 1 - rate * 0.02, 0.25
            table.append((p.ctypes.data, g.ctypes.data, starts[at], p.size, block, *scalars))
            block += blocks(p.size, SPAN)
        table = np.array(table, dtype=slot)
        launch("adam", (block, 1), table, mean, square, np.array([halted], np.uint32), len(table), beta2, 1 - beta1, 1 - beta2, 1e-8)
        return gradients

    for number in range(1, steps + 1):
        for at, (p, g) in enumerate(zip(parameters, step(number, 0))):
            p.grad = None if at == 1 else torch.tensor(g, dtype=torch.float64) * 0.25
        optimiser.step()
    for own, wanted in zip(values, parameters):
        agree(f"Adam, {own.size}", own, wanted, 2e-6)
    before = [v.copy() for v in values] + [mean.copy(), square.copy()]
    step(steps + 1, 1)
    assert all((a == b).all() for a, b in zip(before, values + [mean, square])), "halted, yet it moved"


with tempfile.TemporaryDirectory() as folder:
    LIBRARY = build(folder)
    torch.manual_seed(0)
    for shape, shift in [((3, 5, 7, 9), 0), ((2, 3, 96, 97), 30), ((1, 2, 1, 2), 0), ((2, 300, 4, 4), 1)]:
        print("batch normalisation and ReLU", shape, "mean about", shift)
        norm(*shape, shift)
    for shape in [(2, 1, 100, 120), (3, 5, 3, 3)]:
        print("bias", shape)
        bias(*shape)
    for shape in [(2, 3, 5, 7), (1, 2, 64, 66), (1, 1, 2, 2)]:
        for ties in (False, True):
            print("pools", shape, "with ties" if ties else "")
            pools(*shape, ties)
    pools_with_nan()
    for shape in [(2, 3, 2, 3, 5), (1, 1, 1, 1, 1), (1, 2, 3, 40, 33), (1, 1, 2, 2, 1)]:
        print("joint", shape)
        joint(*shape)
    for kind, shape in [(k, s) for k in range(3) for s in [(5, 1), (3, 9000), (1, 50)]]:
        print("loss", kind, shape)
        losses(kind, *shape)
    print("bf16")
    for n in (9, 1024, 5001):
        bf16(n)
    for shape in [(5, 48, (True, True, True)), (1, 16, (False, False, False)), (4, 33, (False, True, True))]:
        print("batches", shape)
        batches(*shape)
    print("Adam")
    adam()
    missed = KERNELS.keys() - called
    assert not missed, f"not checked: {missed}"
    print(f"all {len(KERNELS)} kernels agree")
