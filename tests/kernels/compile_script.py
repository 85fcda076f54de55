"""Run by test_process.py: the Triton kernels compile for a GPU that is not there (the interpreter accepts more)."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "0"
os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from orbdens.kernels.gpu import loops

FLOAT64 = {"image_position", "reach2", "site_reach2"}
FLOAT32 = {
    *("points", "origin", "scalings", "exponents", "weights", "start", "up", "down", "coefficients", "cutoff2", "out"),
    *("cotangents", "point_grad", "position_grad", "zeroth_moments", "first_moments", "coefficient_grad"),
}


def compile_kernel(kernel: Any, **constants: Any) -> None:
    """Compile down to machine code for sm_90."""
    signature = {}
    for name in kernel.arg_names:
        pointer = "*fp64" if name in FLOAT64 else "*fp32" if name in FLOAT32 else "*i64"
        signature[name] = "constexpr" if name in constants else "i32" if name == "n_channels" else pointer
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 90, 32))
    assert "cubin" in compiled.asm


if __name__ == "__main__":
    compile_kernel(loops.forward, STRIDE=13, L_MAX=2, BLOCK=64, DERIVATIVES=True)
    compile_kernel(loops.vjp, STRIDE=13, L_MAX=2, BLOCK=64, GEOMETRY=True, RADIAL=True, COEFFICIENTS=True)
