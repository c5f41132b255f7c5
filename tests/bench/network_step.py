"""Times a training step of the network here and in PyTorch, alternating, on the same machine.

    cargo build --release -p host-train --example network_step
    python tests/bench/network_step.py --width 1 --side 128 --batch 2 --threads 1 --rounds 3

and on a GPU, the example built with `--features cuda`:

    python tests/bench/network_step.py --width 1 --steps 20 --device cuda --precision tf32

There PyTorch runs three times: as here, with `channels_last`, and with that in bf16 (autocast).

A step is what MTL-IO does with one batch: for each of the four tasks a forward pass, a backward
pass and a step of the task's own Adam. Each round runs both in a fresh process, the order changing
from round to round, with the same number of threads; a process's first step, which warms caches and
memory, is left out. Printed are seconds a step and CPU seconds a step, each as the fastest of all
steps and as their median, and the peak memory of the whole process, PyTorch's interpreter and
libraries included. On a busy machine CPU seconds are disturbed less than seconds; with several
threads they count the time that PyTorch's threads spend waiting for each other, too.
"""

import argparse
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def torch_step(width, side, batch, steps, threads, device="cpu", precision="f32", channels_last=False):
    """The same network and step in PyTorch; prints what the Rust example prints."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "f32"
    torch.backends.cudnn.benchmark = True
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    torch.manual_seed(1)
    c = [max(1, round(n * width)) for n in (64, 128, 256, 512, 512)]

    def blocks(*channels):
        layers = []
        for i, o in zip(channels, channels[1:]):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleList(blocks(i, o, o) for i, o in zip([3] + c, c))
            self.decoder = nn.ModuleList()
            deep = c[4]
            for skip, out in zip(c[3::-1], [c[2], c[1], c[0], c[0]]):
                self.decoder.append(blocks(deep + skip, (deep + skip) // 2, out))
                deep = out
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.8), nn.Linear(c[4], 1))
            self.heads = nn.ModuleList(nn.Conv2d(c[0], 1, 1) for _ in range(3))

        def forward(self, x, task):
            maps = []
            for stage in self.encoder:
                x = stage(F.max_pool2d(x, 2) if maps else x)
                maps.append(x)
            if task == 0:
                return self.classifier(F.adaptive_max_pool2d(x, 1))
            for stage, skip in zip(self.decoder, maps[3::-1]):
                x = stage(torch.cat([self.up(x), skip], 1))
            return self.heads[task - 1](x)

    def loss(task, z):
        t = torch.zeros_like(z)
        if task == 3:
            return F.l1_loss(torch.sigmoid(z), t)
        bce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
        return (bce if task else (1 - torch.exp(-bce)) ** 2 * bce).mean()

    order = torch.channels_last if channels_last else torch.contiguous_format
    net = Net().to(device, memory_format=order)
    adams = [torch.optim.Adam(net.parameters(), lr=1e-4) for _ in range(4)]
    x = torch.rand(batch, 3, side, side).to(device, memory_format=order)
    half = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")
    for step in range(steps):
        start, parts = time.perf_counter(), [0.0, 0.0, 0.0]
        cpu = time.process_time()
        for task, adam in enumerate(adams):
            t0 = time.perf_counter()
            with half:
                z = net(x, task)
            value = loss(task, z.float())
            t1 = time.perf_counter()
            adam.zero_grad(set_to_none=True)
            value.backward()
            t2 = time.perf_counter()
            adam.step()
            t3 = time.perf_counter()
            parts = [p + d for p, d in zip(parts, (t1 - t0, t2 - t1, t3 - t2))]
        wait()
        total, cpu = time.perf_counter() - start, time.process_time() - cpu
        f, b, a = parts
        print(f"step {step}: {total:.3f} s (forward {f:.3f}, backward {b:.3f}, Adam {a:.3f}), CPU {cpu:.3f} s")
    if device != "cpu":
        print(f"peak {torch.cuda.max_memory_allocated() // 2**20} MiB")
        return
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def measure(command, threads):
    """(seconds of each step, CPU seconds of each step, peak MiB) of one process."""
    count = str(threads)
    environment = {"RAYON_NUM_THREADS": count, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    environment["PATH"] = "/usr/bin:/bin"
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"step \d+: ([\d.]+) s .*CPU ([\d.]+) s", text)[1:]
    peak = int(re.search(r"peak (\d+) MiB", text)[1])
    return [float(t) for t, _ in found], [float(c) for _, c in found], [peak]


def on_gpu(a, ours, other, precision):
    """The fastest step of each; a GPU's memory is not in the processes' own figures."""
    variants = {
        f"here {precision}": ours,
        f"PyTorch {precision}": [*other, "--precision", precision],
        f"PyTorch {precision} channels_last": [*other, "--precision", precision, "--channels-last"],
        "PyTorch bf16 channels_last": [*other, "--precision", "bf16", "--channels-last"],
    }
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(a.rounds):
        for name, command in variants.items():
            best[name] = min(best[name], *measure(command, a.threads)[0])
    first = next(iter(best.values()))
    for name, seconds in best.items():
        print(f"{name:28} {1000 * seconds:8.1f} ms a step, {a.batch / seconds:8.1f} images/s, {first / seconds:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--example", default=ROOT / "target/release/examples/network_step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"])
    parser.add_argument("--channels-last", action="store_true", help="with --torch")
    parser.add_argument("--torch", action="store_true", help="run only the PyTorch step, here")
    a = parser.parse_args()
    precision = a.precision or ("f32" if a.device == "cpu" else "tf32")
    if a.torch:
        return torch_step(a.width, a.side, a.batch, a.steps, a.threads, a.device, precision, a.channels_last)
    sizes = [str(a.width), str(a.side), str(a.batch), str(a.steps)]
    flags = [f for k, v in zip(("width", "side", "batch", "steps"), sizes) for f in (f"--{k}", v)]
    other = [sys.executable, __file__, "--torch", "--threads", str(a.threads), "--device", a.device, *flags]
    if a.device != "cpu":
        return on_gpu(a, [str(a.example), *sizes, a.device, precision], other, precision)
    sides = {"here": [str(a.example), *sizes], "PyTorch": other}
    found = {name: ([], [], []) for name in sides}
    for at in range(a.rounds):
        for name in sorted(sides, reverse=at % 2 == 1):
            measured = measure(sides[name], a.threads)
            for to, values in zip(found[name], measured):
                to.extend(values)
            seconds, cpu, peak = (min(values) for values in measured)
            print(f"round {at + 1}, {name}: {seconds:.3f} s, CPU {cpu:.3f} s, {peak} MiB", flush=True)
    print("| | here, best | PyTorch, best | ratio | here, median | PyTorch, median | ratio |")
    print("|---|---|---|---|---|---|---|")
    for k, what in enumerate(("seconds a step", "CPU seconds a step", "peak MiB")):
        cells = []
        for pick in (max if k == 2 else min, statistics.median):
            ours, theirs = pick(found["here"][k]), pick(found["PyTorch"][k])
            cells += [f"{ours:.4g}", f"{theirs:.4g}", f"**{ours / theirs:.2f}**"]
        print(f"| {what} | {' | '.join(cells)} |")


main()
