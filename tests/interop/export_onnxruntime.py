"""Checks exported files against ONNX's own checker and runs them in onnxruntime.

Usage: python export_onnxruntime.py FOLDER

FOLDER holds for every `NAME.onnx` its `NAME.input` (one photograph, 1 x 3 x S x S, f32, little endian)
and `NAME.f32`: what the device's engine made of it, glaucoma, disc, cup and fovea one after another.
Prints one JSON line a file: the largest and the mean difference from onnxruntime and the share of the
maps' pixels that lie on another side of 0.5, without graph optimisation (every node as written) and
with it (integers fused where onnxruntime can), and as a yardstick how far onnxruntime moves from
itself when the photograph changes by a millionth.
Needs onnx, onnxruntime and numpy. Exit code 3 when one of them is missing.
"""

import json
import pathlib
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)

OUTPUTS = ["glaucoma", "disc", "cup", "fovea"]


NOISE = 1e-6


def run(path, image, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs = session.run(OUTPUTS, {"image": image})
    return np.concatenate([output.ravel() for output in outputs])


def figures(a, b):
    difference, sides = np.abs(a - b), (a >= 0.5) != (b >= 0.5)
    return {
        "max": float(difference.max()),
        "mean": float(difference.mean()),
        "mask": float(sides[1:].mean()),
    }


def check(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    image = np.fromfile(path.with_suffix(".input"), dtype="<f4").reshape(shape)
    device = np.fromfile(path.with_suffix(".f32"), dtype="<f4")
    levels = ort.GraphOptimizationLevel
    report = {"file": path.name, "opset": model.opset_import[0].version, "ir": model.ir_version}
    report["metadata"] = {entry.key: len(entry.value) for entry in model.metadata_props}
    plain = run(path, image, levels.ORT_DISABLE_ALL)
    report["noise"] = {"max": 0.0, "mean": 0.0, "mask": 0.0}
    for seed in range(4):
        noise = 1 + NOISE * np.random.default_rng(seed).standard_normal(image.shape)
        noisy = run(path, (image * noise).astype("f4"), levels.ORT_DISABLE_ALL)
        for name, figure in figures(noisy, plain).items():
            report["noise"][name] = max(report["noise"][name], figure)
    for name, level in [("as_written", levels.ORT_DISABLE_ALL), ("fused", levels.ORT_ENABLE_ALL)]:
        report[name] = figures(run(path, image, level), device)
    return report


def main():
    folder = pathlib.Path(sys.argv[1])
    for path in sorted(folder.glob("*.onnx")):
        print(json.dumps(check(path)))


main()
