"""Compiles `kernels.cu` with NVRTC for every generation of GPU, as the program does on one.

    pip install --no-deps --target nvrtc nvidia-cuda-nvrtc==13.0.88
    python tests/cuda/compile_kernels.py nvrtc

Needs no GPU and no toolkit: NVRTC is a library. Prints the size of the PTX and the number of kernels.
"""

import ctypes
import pathlib
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "host-train/src/network/cuda/kernels.cu"
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "nvrtc")
found = sorted(p for p in folder.rglob("libnvrtc*.so*") if ".alt." not in p.name)
if not found:
    sys.exit(f"{folder}: no libnvrtc")
# The built-in functions are a library of their own, and must be there first.
libraries = [ctypes.CDLL(str(p), mode=ctypes.RTLD_GLOBAL) for p in found]
nvrtc = libraries[-1]
source = SOURCE.read_bytes()
for generation in (75, 80, 86, 89, 90, 100, 120):
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=compute_{generation}".encode())
    status = nvrtc.nvrtcCompileProgram(program, 1, options)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if status != 0 or log.value:
        sys.exit(f"compute_{generation}: {log.value.decode()}")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    kernels = ptx.value.count(b".visible .entry")
    assert kernels == source.count(b'extern "C" __global__'), kernels
    print(f"compute_{generation}: {kernels} kernels, {size.value // 1024} KiB of PTX")
