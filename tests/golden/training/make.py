"""Golden values of the training strategies, from PyTorch in double precision.

    python tests/golden/training/make.py

writes strategies.safetensors beside this file: the weights, running statistics and some moments
after three steps of MTL-IO (one torch.optim.Adam a task, equation 3 of Pascal et al. 2022) and of
the aggregated loss (equation 1). Network, starting weights and losses are those of
../network/make.py; images and targets are computed from `noise` on both sides.
"""

import importlib.util
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("network", HERE.parent / "network" / "make.py")
network = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)
noise, TASKS, SIDE, BATCH = network.noise, network.TASKS, network.SIDE, network.BATCH

LR = 1e-2
# Large, so that a step is a smooth function of the gradient: with the usual 1e-8 the first step is
# the gradient's sign, which rounding decides where the gradient is zero in theory.
EPS = 1e-3
# Which images of the two are labelled, step by step; [] makes the task absent from the batch.
LABELLED = [
    {"glaucoma": [0, 1], "disc": [0, 1], "cup": [0], "fovea": [0, 1]},
    {"glaucoma": [], "disc": [1], "cup": [], "fovea": [0, 1]},
    {"glaucoma": [1], "disc": [0, 1], "cup": [1], "fovea": [0]},
]
MOMENTS = [
    "encoder.stage1.conv1.weight", "encoder.stage5.norm2.weight", "decoder.stage1.norm1.weight",
    "head.glaucoma.weight", "head.disc.weight", "head.cup.weight", "head.fovea.weight",
]


def batch(step):
    images = noise(BATCH * 3 * SIDE * SIDE, 2000 + 10 * step).reshape(BATCH, 3, SIDE, SIDE)
    targets = {}
    for at, task in enumerate(TASKS):
        seed = 2001 + 10 * step + at
        if task == "glaucoma":
            x = (noise(BATCH, seed) > 0).astype(float)
        else:
            x = noise(BATCH * SIDE * SIDE, seed).reshape(BATCH, 1, SIDE, SIDE)
            x = (x + 1.0) / 2.0 if task == "fovea" else (x > 0.5).astype(float)
        targets[task] = (torch.from_numpy(x), LABELLED[step][task])
    return torch.from_numpy((images + 1) / 2), targets


def adam(parameters):
    return torch.optim.Adam(parameters, lr=LR, eps=EPS)


def independent(net, parameters, golden):
    own = {task: adam(parameters.values()) for task in TASKS}
    for step in range(len(LABELLED)):
        images, targets = batch(step)
        for task in TASKS:
            values, labelled = targets[task]
            if not labelled:
                continue
            net.zero_grad(set_to_none=True)
            loss = network.loss(task, net(images, task), values, labelled)
            loss.backward()
            own[task].step()
            golden[f"independent.loss.{step}.{task}"] = loss
    for task in TASKS:
        for name in MOMENTS:
            state = own[task].state.get(parameters[name])
            if state:
                golden[f"independent.state.{task}.{name}.mean"] = state["exp_avg"]
                golden[f"independent.state.{task}.{name}.square"] = state["exp_avg_sq"]
                golden[f"independent.state.{task}.{name}.steps"] = state["step"].reshape(1)


def outputs(net, images, tasks):
    """All heads on one pass through encoder and decoder, so that statistics move once."""
    caught = {}
    hook = net.decoder[3][1].register_forward_hook(lambda _m, _i, out: caught.update(map=out))
    deep = net.encoder[4][1].register_forward_hook(lambda _m, _i, out: caught.update(deep=out))
    net(images, "disc")
    hook.remove()
    deep.remove()
    result = {}
    for task in tasks:
        if task == "glaucoma":
            pooled = torch.nn.functional.adaptive_max_pool2d(caught["deep"], 1).flatten(1)
            result[task] = net.heads[task](pooled).flatten()
        else:
            result[task] = net.heads[task](caught["map"])
    return result


def aggregated(net, parameters, golden):
    optimiser = adam(parameters.values())
    for step in range(len(LABELLED)):
        images, targets = batch(step)
        present = [task for task in TASKS if targets[task][1]]
        net.zero_grad(set_to_none=True)
        logits = outputs(net, images, present)
        losses = {task: network.loss(task, logits[task], *targets[task]) for task in present}
        sum(losses.values()).backward()
        optimiser.step()
        for task, loss in losses.items():
            golden[f"aggregated.loss.{step}.{task}"] = loss


def main():
    golden = {}
    for name, run in (("independent", independent), ("aggregated", aggregated)):
        net = network.Net().double()
        network.fill(net)
        parameters, buffers = net.named()
        run(net, parameters, golden)
        for key, tensor in {**parameters, **buffers}.items():
            golden[f"{name}.final.{key}"] = tensor
    network.save(HERE / "strategies.safetensors", golden)


if __name__ == "__main__":
    main()
