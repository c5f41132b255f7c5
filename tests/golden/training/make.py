"""Golden values of the training strategies, from PyTorch in double precision.

    python tests/golden/training/make.py

writes strategies.safetensors beside this file: the weights, running statistics and some moments
after three steps of MTL-IO (one torch.optim.Adam a task, equation 3 of Pascal et al. 2022), of
the aggregated loss (equation 1), of alternation with one Adam (equation 2), of GradNorm (Chen et al.
2018), of uncertainty weighting (Kendall et al. 2018), of FAMO (Liu et al. 2023) and of PCGrad (Yu et
al. 2020). Network, starting weights and losses are those of
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


def alternating(net, parameters, golden):
    optimiser = adam(parameters.values())
    # Two batches: in the third, single precision turns the sign of some ReLU's input and with it 1e-3 of
    # the decoder's weights, while up to there everything agrees to 4e-5.
    for step in range(2):
        images, targets = batch(step)
        for task in TASKS:
            values, labelled = targets[task]
            if not labelled:
                continue
            net.zero_grad(set_to_none=True)
            loss = network.loss(task, net(images, task), values, labelled)
            loss.backward()
            optimiser.step()
            golden[f"alternating.loss.{step}.{task}"] = loss


def task_gradients(net, parameters, step, golden, name):
    """The losses of a step and, for each, the gradients of all parameters (None: not reached)."""
    images, targets = batch(step)
    present = [task for task in TASKS if targets[task][1]]
    logits = outputs(net, images, present)
    losses = {task: network.loss(task, logits[task], *targets[task]) for task in present}
    gradients = {}
    for task, loss in losses.items():
        golden[f"{name}.loss.{step}.{task}"] = loss
        gradients[task] = torch.autograd.grad(
            loss, list(parameters.values()), allow_unused=True, retain_graph=True
        )
    return losses, gradients


def gradnorm(net, parameters, golden):
    """The norms are taken at the encoder's last convolution."""
    optimiser = adam(parameters.values())
    layer = list(parameters).index("encoder.stage5.conv2.weight")
    weights = {task: torch.ones((), dtype=torch.float64, requires_grad=True) for task in TASKS}
    own = torch.optim.Adam(weights.values(), lr=0.025)
    first = {}
    for step in range(len(LABELLED)):
        losses, gradients = task_gradients(net, parameters, step, golden, "gradnorm")
        for task, loss in losses.items():
            first.setdefault(task, loss.detach())
        total = sum(weights[task].detach() * loss for task, loss in losses.items())
        net.zero_grad(set_to_none=True)
        total.backward()
        # Equation 2; the mean of the norms times the inverse training rates is a constant.
        norms = torch.stack([weights[task] * gradients[task][layer].norm() for task in losses])
        ratios = torch.stack([losses[task].detach() / first[task] for task in losses])
        wanted = (norms.mean() * (ratios / ratios.mean()) ** 1.5).detach()
        own.zero_grad(set_to_none=True)
        (norms - wanted).abs().sum().backward()
        with torch.no_grad():
            before = sum(weights[task].item() for task in losses)
            own.step()
            after = sum(weights[task].item() for task in losses)
            for task in losses:
                weights[task] *= before / after
        optimiser.step()
    values = torch.stack([weights[task].detach() for task in TASKS])
    golden["gradnorm.state.gradnorm.numbers.weights.values"] = values
    golden["gradnorm.state.gradnorm.numbers.first_losses"] = torch.stack(list(first.values()))


def uncertainty(net, parameters, golden):
    """Log-variances learnt together with the network, as one loss."""
    optimiser = adam(parameters.values())
    logs = {task: torch.zeros((), dtype=torch.float64, requires_grad=True) for task in TASKS}
    own = torch.optim.Adam(logs.values(), lr=2.5e-3)
    for step in range(len(LABELLED)):
        images, targets = batch(step)
        present = [task for task in TASKS if targets[task][1]]
        logits = outputs(net, images, present)
        losses = {task: network.loss(task, logits[task], *targets[task]) for task in present}
        net.zero_grad(set_to_none=True)
        own.zero_grad(set_to_none=True)
        sum(torch.exp(-logs[t]) * loss + logs[t] / 2 for t, loss in losses.items()).backward()
        optimiser.step()
        own.step()
        for task, loss in losses.items():
            golden[f"uncertainty.loss.{step}.{task}"] = loss
    values = torch.stack([logs[task].detach() for task in TASKS])
    golden["uncertainty.state.uncertainty.numbers.log_variances.values"] = values


def famo(net, parameters, golden):
    """Algorithm 1, with Adam for the logits, and the progress taken on the step's own batch."""
    optimiser = adam(parameters.values())
    logits = {task: torch.zeros((), dtype=torch.float64, requires_grad=True) for task in TASKS}
    own = torch.optim.Adam(logits.values(), lr=0.025, weight_decay=0.01)
    for step in range(len(LABELLED)):
        images, targets = batch(step)
        present = [task for task in TASKS if targets[task][1]]

        def losses():
            found = outputs(net, images, present)
            return torch.stack([network.loss(t, found[t], *targets[t]) for t in present])

        shares = torch.softmax(torch.stack([logits[task] for task in present]), 0)
        before = losses()
        scale = 1 / (shares.detach() / (before.detach() + 1e-8)).sum()
        net.zero_grad(set_to_none=True)
        (scale * (shares.detach() * torch.log(before + 1e-8)).sum()).backward()
        optimiser.step()
        kept = {name: buffer.clone() for name, buffer in net.named_buffers()}
        with torch.no_grad():
            after = losses()
        for name, buffer in net.named_buffers():
            buffer.copy_(kept[name])
        progress = torch.log(before.detach() + 1e-8) - torch.log(after + 1e-8)
        own.zero_grad(set_to_none=True)
        (shares * progress).sum().backward()
        own.step()
        for task, loss in zip(present, before):
            golden[f"famo.loss.{step}.{task}"] = loss
    values = torch.stack([logits[task].detach() for task in TASKS])
    golden["famo.state.famo.numbers.logits.values"] = values


# The project draws them from the step's seed; by the number of tasks in the step.
ORDERS = {2: [[0, 1], [1, 0]], 4: [[0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1], [3, 1, 2, 0]]}


def pcgrad(net, parameters, golden):
    optimiser = adam(parameters.values())
    for step in range(len(LABELLED)):
        losses, gradients = task_gradients(net, parameters, step, golden, "pcgrad")
        own = list(gradients.values())
        reached = [sum(g is not None for g in column) for column in zip(*own)]
        shared = [at for at, count in enumerate(reached) if count > 1]
        shapes = list(parameters.values())
        vector = lambda g: torch.cat([
            (torch.zeros_like(shapes[at]) if g[at] is None else g[at]).flatten() for at in shared
        ])
        vectors = [vector(g).detach() for g in own]
        total = torch.zeros_like(vectors[0])
        for task, order in enumerate(ORDERS[len(own)]):
            projected = vectors[task].clone()
            for other in order:
                inner = projected @ vectors[other]
                if other != task and inner < 0:
                    projected -= inner / (vectors[other] @ vectors[other]) * vectors[other]
            total += projected
        for at, parameter in enumerate(parameters.values()):
            parameter.grad = next((g[at] for g in own if g[at] is not None), None)
        for at, part in zip(shared, total.split([shapes[at].numel() for at in shared])):
            shapes[at].grad = part.reshape(shapes[at].shape)
        optimiser.step()


STRATEGIES = {
    "independent": independent, "aggregated": aggregated, "alternating": alternating,
    "gradnorm": gradnorm, "uncertainty": uncertainty, "famo": famo, "pcgrad": pcgrad,
}


def main():
    golden = {}
    for name, run in STRATEGIES.items():
        net = network.Net().double()
        network.fill(net)
        parameters, buffers = net.named()
        run(net, parameters, golden)
        for key, tensor in {**parameters, **buffers}.items():
            golden[f"{name}.final.{key}"] = tensor
    network.save(HERE / "strategies.safetensors", golden)


if __name__ == "__main__":
    main()
