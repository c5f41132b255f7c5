"""Golden files for transfer learning: narrow VGG stacks as PyTorch saves them, and what they say.

    python tests/golden/pretrained/make.py

writes beside this file: the same random vgg13_bn (channels 2, 4, 8, 16, 16) in every form that
torch.save and safetensors know, a vgg16 without normalisation in two forms, one of them an ONNX file with
Keras' names, and maps.safetensors with the maps of all stages in double precision:

- `NAME.torchvision.stageN`: with torchvision's normalisation and zeros beyond the edge;
- `NAME.black.stageN`: the same, but beyond the edge lies what normalisation makes of black;
- `vgg16.conv.{first,last}.{mean,var}`: statistics of the first and last convolution's values.

Needs torch, safetensors, onnx and numpy.
"""

import copy
import pathlib
import re

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
CHANNELS = [2, 4, 8, 16, 16]
SIDE = 32
VGG13, VGG16 = [2, 2, 2, 2, 2], [2, 2, 3, 3, 3]
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).reshape(1, 3, 1, 1)
BGR_MEAN = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).reshape(1, 3, 1, 1)


class Vgg(nn.Module):
    """As torchvision builds it, with a classifier that nobody wants."""

    def __init__(self, convolutions, normalised):
        super().__init__()
        layers, inputs = [], 3
        for outputs, count in zip(CHANNELS, convolutions):
            for _ in range(count):
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                layers += [nn.BatchNorm2d(outputs)] if normalised else []
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(inputs, 3))


def random_vgg(convolutions, normalised, seed):
    torch.manual_seed(seed)
    net = Vgg(convolutions, normalised).eval()
    with torch.no_grad():
        for module in net.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.bias.normal_(0, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
    return net


@torch.no_grad()
def stages(net, image, edge=None, skip=(), statistics=None):
    """Maps before each pool. `edge`: what lies beyond the image's edge instead of zeros; `skip`: which
    convolutions to leave out, with what belongs to them."""
    net = copy.deepcopy(net).double()
    maps, x, number, skipping = [], image, 0, False
    for module in net.features:
        if isinstance(module, nn.MaxPool2d):
            maps.append(x)
            x, skipping = module(x), False
            continue
        if isinstance(module, nn.Conv2d):
            number += 1
            skipping = number in skip
        if skipping:
            continue
        if isinstance(module, nn.Conv2d) and number == 1 and edge is not None:
            framed = edge.expand(-1, -1, SIDE + 2, SIDE + 2).clone()
            framed[:, :, 1:-1, 1:-1] = x
            x = F.conv2d(framed, module.weight, module.bias)
        else:
            x = module(x.clone())
        if isinstance(module, nn.Conv2d) and statistics is not None:
            statistics.append((x.mean((0, 2, 3)), x.var((0, 2, 3))))
    return maps


class Old:
    """A tensor as PyTorch pickled it before `_rebuild_tensor_v2`."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        storage = torch.storage.TypedStorage(
            wrap_storage=self.tensor.untyped_storage(), dtype=self.tensor.dtype, _internal=True)
        return torch._utils._rebuild_tensor, (
            storage, self.tensor.storage_offset(), tuple(self.tensor.size()), self.tensor.stride())


def python2_names(path):
    """Names as Python 2 pickled them: SHORT_BINSTRING instead of BINUNICODE."""
    data = path.read_bytes()
    short = lambda found: b"U" + found.group(1)[:1] + found.group(2)
    path.write_bytes(re.sub(rb"X(.\0\0\0)((?:features|classifier)\.[a-z0-9_.]+)", short, data, flags=re.S))


def save_forms(net):
    state = net.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()},
              HERE / "vgg13_bn.safetensors")
    torch.save(state, HERE / "vgg13_bn.zip.pth")
    torch.save(state, HERE / "vgg13_bn.legacy.pth", _use_new_zipfile_serialization=False)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()}
    torch.save(half, HERE / "vgg13_bn.half.pth")
    # Parameters instead of tensors, weights that are views with strides, other things beside them.
    views = {}
    for name, tensor in net.named_parameters():
        turned = tensor.detach().transpose(0, -1).contiguous().transpose(0, -1)
        views[name] = nn.Parameter(turned) if name.endswith("weight") else tensor
    views |= dict(net.named_buffers())
    nested = {"epoch": 3, "optimizer_state_dict": {"lr": 0.1, "step": torch.tensor(5.0)},
              "model_state_dict": views, "note": ("a", None, True, 1 << 40)}
    torch.save(nested, HERE / "vgg13_bn.nested.pth")
    old = {name: Old(tensor) for name, tensor in state.items() if "num_batches" not in name}
    path = HERE / "vgg13_bn.old.pth"
    torch.save({"state_dict": old}, path, _use_new_zipfile_serialization=False)
    python2_names(path)


def save_keras(net):
    """The constants of an ONNX file as tf2onnx writes Keras' VGG-16; its nodes are not needed."""
    tensors, convolutions = [], (m for m in net.features if isinstance(m, nn.Conv2d))
    for block, count in enumerate(VGG16, 1):
        for number in range(1, count + 1):
            module, name = next(convolutions), f"functional_1/block{block}_conv{number}_1"
            weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
            tensors.append(numpy_helper.from_array(weight, f"{name}/convolution/ReadVariableOp:0"))
            tensors.append(numpy_helper.from_array(bias, f"{name}/Squeeze:0"))
    head = np.ones((4, 2), np.float32)
    tensors.append(numpy_helper.from_array(head, "functional_1/dense_1/Cast/ReadVariableOp:0"))
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "const_starts__79"))
    graph = onnx.helper.make_graph([], "vgg16", [], [], initializer=tensors)
    onnx.save(onnx.helper.make_model(graph), HERE / "vgg16.keras.onnx")


def main():
    torch.manual_seed(1)
    image = torch.rand(1, 3, SIDE, SIDE).double()
    black = (torch.zeros(1, 3, 1, 1) - MEAN) / STD
    normal = (image - MEAN) / STD
    maps = {"image": image}

    def keep(name, found):
        maps.update({f"{name}.stage{number}": map for number, map in enumerate(found, 1)})

    bn = random_vgg(VGG13, True, 13)
    save_forms(bn)
    keep("vgg13_bn.torchvision", stages(bn, normal))
    keep("vgg13_bn.black", stages(bn, normal, black))

    plain = random_vgg(VGG16, False, 16)
    save_file(plain.state_dict(), HERE / "vgg16.safetensors")
    statistics = []
    keep("vgg16.black", stages(plain, normal, black, statistics=statistics))
    for name, (mean, var) in [("first", statistics[0]), ("last", statistics[-1])]:
        maps[f"vgg16.conv.{name}.mean"], maps[f"vgg16.conv.{name}.var"] = mean, var
    keep("vgg16_in_13.black", stages(plain, normal, black, skip=(7, 10, 13)))

    # Fed as Keras does: in 0..255 the values are large, so the first weights are small.
    with torch.no_grad():
        plain.features[0].weight /= 100
    save_keras(plain)
    oxford = image[:, [2, 1, 0]] * 255 - BGR_MEAN
    keep("keras.black", stages(plain, oxford, -BGR_MEAN))
    save_file({name: map.float().contiguous() for name, map in maps.items()}, HERE / "maps.safetensors")


main()
