"""Where to compute: on the processor, on a CUDA GPU, or by the GPU's kernels as an interpreter runs them.

One word says it, in ``--device`` and in Python: ``auto`` (a CUDA GPU if there is one that everything runs on),
``cpu``, ``cuda``, ``cuda:N``, or ``interpreter``: the network on the processor and the Triton kernels of densities,
interpreted there, as slow as that is. It takes the steps that a GPU takes, so that they can be tested without one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from orbdens.errors import UserError
from orbdens.kernels import choose_backend, validate

WORDS = "auto, cpu, cuda, cuda:N or interpreter"

FULL, MIXED = PRECISIONS = ("32-true", "bf16-mixed")
"""Of predictions, as Lightning names them: single, or products of the network in bfloat16."""


@dataclass(frozen=True)
class Device:
    """Where networks run and coefficients are, and what evaluates densities there.

    Attributes:
        place: of tensors.
        backend: of the kernels, see ``kernels/README.md``; ``auto`` goes by the place.
    """

    place: torch.device
    backend: str = "auto"

    @property
    def kernels(self) -> str:
        """Name of the backend that evaluates densities."""
        return choose_backend(self.backend, self.place)

    @property
    def is_processor(self) -> bool:
        """Whether nothing of a GPU's path is taken."""
        return self.kernels == "cpu"


PROCESSOR = Device(torch.device("cpu"))


def why_no_gpu() -> str | None:
    """Why ``auto`` means the processor here; None where it means a GPU."""
    return validate("gpu") if torch.cuda.is_available() else "torch finds no CUDA GPU here"


def find_device(name: str | torch.device = "auto") -> Device:
    """The device that a word names.

    Args:
        name: one of the words above.

    Raises:
        UserError: it is none of them, or there is no such device here.
    """
    text = str(name)
    if text == "cpu" or (text == "auto" and why_no_gpu() is not None):
        return PROCESSOR
    if text == "interpreter":
        return _interpreter()
    if text != "auto" and not re.fullmatch(r"cuda(:\d+)?", text):
        raise UserError(f"expected {WORDS} as the device, but got '{text}'")
    reason = why_no_gpu()
    if reason is not None:
        raise UserError(f"the device is to be {text}, but {reason}")
    number = int(text.partition(":")[2] or torch.cuda.current_device())
    there = torch.cuda.device_count()
    if number >= there:
        raise UserError(f"the device is to be {text}, but torch finds {there} here, from cuda:0 to cuda:{there - 1}")
    return Device(torch.device("cuda", number))


@contextmanager
def full_precision() -> Iterator[None]:
    """In the block convolutions of a GPU are not rounded to the 10 bits of TF32, which torch does unless told."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _interpreter() -> Device:
    if importlib.util.find_spec("triton") is None:
        raise UserError("the device is to be the interpreter, but Triton is not installed (pip install 'orbdens[gpu]')")
    if os.environ.get("TRITON_INTERPRET") != "1":
        if "triton" in sys.modules:  # which has decided by now whether it compiles
            raise UserError(
                "the device is to be the interpreter, but Triton was imported before: set TRITON_INTERPRET=1 at first"
            )
        os.environ["TRITON_INTERPRET"] = "1"
    return Device(torch.device("cpu"), "gpu")
