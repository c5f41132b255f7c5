"""Golden values of the network, its losses, gradients and optimiser, from PyTorch in double precision.

    python tests/golden/network/make.py

writes network.safetensors and adam.safetensors beside this file. Parameters, images and targets
are not stored: both sides compute them from `noise`.
"""

import json
import math
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent
CHANNELS = [2, 4, 8, 16, 16]  # width 1/32
SIDE, BATCH = 32, 2
TASKS = ["glaucoma", "disc", "cup", "fovea"]


def noise(count, seed):
    """Numbers in [-1, 1): the upper 24 bits of splitmix64 at seed * 2^32 + index."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        c = CHANNELS
        self.encoder = nn.ModuleList(
            nn.ModuleList([block(i, o), block(o, o)]) for i, o in zip([3] + c, c)
        )
        self.decoder = nn.ModuleList()
        deep = c[4]
        for skip, out in zip(c[3::-1], [c[2], c[1], c[0], c[0]]):
            joined = deep + skip
            self.decoder.append(nn.ModuleList([block(joined, joined // 2), block(joined // 2, out)]))
            deep = out
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.heads = nn.ModuleDict(
            {t: nn.Linear(c[4], 1) if t == "glaucoma" else nn.Conv2d(c[0], 1, 1) for t in TASKS}
        )

    def forward(self, x, task):
        maps = []
        for stage in self.encoder:
            x = F.max_pool2d(x, 2) if maps else x
            for b in stage:
                x = b(x)
            maps.append(x)
        if task == "glaucoma":
            return self.heads[task](F.adaptive_max_pool2d(x, 1).flatten(1)).flatten()
        for stage, skip in zip(self.decoder, maps[3::-1]):
            x = torch.cat([self.up(x), skip], 1)
            for b in stage:
                x = b(x)
        return self.heads[task](x)

    def named(self):
        """(parameters, buffers) under the project's names, in its order."""
        parameters, buffers = {}, {}
        for part, stages in (("encoder", self.encoder), ("decoder", self.decoder)):
            for s, stage in enumerate(stages, 1):
                for b, (conv, norm, _) in enumerate(stage, 1):
                    name = f"{part}.stage{s}"
                    parameters[f"{name}.conv{b}.weight"] = conv.weight
                    parameters[f"{name}.conv{b}.bias"] = conv.bias
                    parameters[f"{name}.norm{b}.weight"] = norm.weight
                    parameters[f"{name}.norm{b}.bias"] = norm.bias
                    buffers[f"{name}.norm{b}.running_mean"] = norm.running_mean
                    buffers[f"{name}.norm{b}.running_var"] = norm.running_var
        for task in TASKS:
            parameters[f"head.{task}.weight"] = self.heads[task].weight
            parameters[f"head.{task}.bias"] = self.heads[task].bias
        return parameters, buffers


def fill(net):
    parameters, buffers = net.named()
    for seed, (name, p) in enumerate({**parameters, **buffers}.items(), 1):
        x = noise(p.numel(), seed).reshape(p.shape)
        if "norm" in name:
            x = 1.0 + 0.4 * x if name.endswith(("weight", "running_var")) else 0.3 * x
        else:
            x = x * math.sqrt(6.0 / (p[0].numel() if p.dim() > 1 else 100.0))
        with torch.no_grad():
            p.copy_(torch.from_numpy(x.astype(np.float32)))


def loss(task, z, t, w):
    """Mean over the elements of the images whose weight is 1."""
    z, t = z[w], t[w]
    if task == "fovea":
        return F.l1_loss(torch.sigmoid(z), t)
    bce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    if task == "glaucoma":
        bce = (1.0 - torch.exp(-bce)) ** 2 * bce
    return bce.mean()


def target(task):
    """Values and which images are labelled: the second image has no cup."""
    if task == "glaucoma":
        return torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([True, True])
    x = noise(BATCH * SIDE * SIDE, 1000 + TASKS.index(task)).reshape(BATCH, 1, SIDE, SIDE)
    x = (x + 1.0) / 2.0 if task == "fovea" else (x > 0.5).astype(np.float64)
    return torch.from_numpy(x), torch.tensor([True, task != "cup"])


def save(path, tensors):
    header, data = {}, b""
    for name, t in tensors.items():
        raw = np.ascontiguousarray(t.detach().numpy().astype("<f4")).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def network():
    net = Net().double()
    fill(net)
    images = torch.from_numpy((noise(BATCH * 3 * SIDE * SIDE, 999).reshape(BATCH, 3, SIDE, SIDE) + 1) / 2)
    parameters, buffers = net.named()
    golden = {}
    for task in TASKS:
        net.zero_grad(set_to_none=True)
        logits = net(images, task)
        value = loss(task, logits, *target(task))
        value.backward()
        golden[f"{task}.logits"] = logits
        golden[f"{task}.loss"] = value
        for name, p in parameters.items():
            if p.grad is not None:
                golden[f"{task}.gradient.{name}"] = p.grad
    for name, b in buffers.items():
        golden[f"after.{name}"] = b.clone()
    net.eval()
    for task in TASKS:
        golden[f"{task}.evaluated"] = net(images, task)
    save(HERE / "network.safetensors", golden)


def adam():
    p = nn.Parameter(torch.from_numpy(noise(64, 1).astype(np.float32)))
    optimiser = torch.optim.Adam([p], lr=1.0)
    golden = {}
    for step in range(5):
        optimiser.param_groups[0]["lr"] = 0.1 / (step + 1)
        p.grad = torch.from_numpy((noise(64, 10 + step) * 10.0 ** (step - 2)).astype(np.float32))
        optimiser.step()
        golden[f"step{step}"] = p.detach().clone()
    state = optimiser.state[p]
    golden["mean"], golden["square"] = state["exp_avg"], state["exp_avg_sq"]
    save(HERE / "adam.safetensors", golden)


def adamw():
    """Decoupled decay of a matrix, none of a bias; an encoder at a tenth of the rate; clipping."""
    shapes = {"encoder.w": (4, 8), "encoder.b": (8,), "head.w": (2, 8), "head.b": (2,)}

    def tensor(shape, seed):
        return torch.from_numpy(noise(math.prod(shape), seed).reshape(shape).astype(np.float32))

    own = {
        name: nn.Parameter(tensor(shape, 100 + i))
        for i, (name, shape) in enumerate(shapes.items())
    }
    groups = [
        {"params": [p], "lr": 0.05 * (0.1 if name.startswith("encoder") else 1.0),
         "weight_decay": 0.1 if p.ndim > 1 else 0.0}
        for name, p in own.items()
    ]
    optimiser = torch.optim.AdamW(groups)
    golden = {}
    for step in range(4):
        for i, (name, shape) in enumerate(shapes.items()):
            own[name].grad = tensor(shape, 200 + 10 * step + i) * 2.0**step
        # Their norms are about 3, 6, 12 and 24: the first is left alone.
        nn.utils.clip_grad_norm_(list(own.values()), 5.0)
        optimiser.step()
        golden |= {f"{name}.{step}": p.detach().clone() for name, p in own.items()}
    save(HERE / "adamw.safetensors", golden)


if __name__ == "__main__":
    network()
    adam()
    adamw()
