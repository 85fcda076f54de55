"""The torch operator: one custom op with one derivative rule, and the backends it calls."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from orbdens.kernels import reference
from orbdens.kernels.problem import DIFFERENTIABLE, Problem
from orbdens.kernels.shells import Shells

BACKENDS = ("reference", "cpu", "gpu")
ARGUMENTS = (
    "Tensor points, Tensor point_ptr, Tensor site_positions, Tensor site_type, Tensor site_ptr, Tensor shell_ptr, "
    "Tensor shell_l, Tensor primitive_ptr, Tensor exponents, Tensor weights, Tensor coefficients, Tensor? scalings, "
    "Tensor? cells, Tensor? pbc, float? cutoff, float tolerance, int memory, str backend"
)
NAMES = [argument.split()[-1] for argument in ARGUMENTS.split(",")]


def backend_module(name: str) -> ModuleType:
    """The module of a backend; compilers are imported only when asked for.

    Raises:
        ValueError: unknown name.
    """
    if name == "reference":
        return reference
    if name == "cpu":
        from orbdens.kernels.cpu import backend as cpu

        return cpu
    if name == "gpu":
        from orbdens.kernels.gpu import backend as gpu

        return gpu
    raise ValueError(f"backend: expected one of auto, {', '.join(BACKENDS)}, got {name!r}")


def choose_backend(name: str, device: torch.device) -> str:
    """The backend to run for tensors on a device; a backend asked for by name is never replaced.

    Raises:
        ValueError: unknown name.
        RuntimeError: the backend cannot run here, with the reason.
    """
    if name == "auto":
        name = "gpu" if device.type == "cuda" else "cpu"
    reason = backend_module(name).validate()
    if reason is not None:
        raise RuntimeError(f"backend {name!r} cannot run here: {reason}")
    return name


def arguments_of(problem: Problem, backend: str) -> tuple[Any, ...]:
    """A problem as the flat arguments of the custom op."""
    shells = problem.shells
    values = {**vars(problem), **vars(shells), "backend": backend}
    return tuple(values[name] for name in NAMES)


def problem_of(arguments: tuple[Any, ...]) -> Problem:
    """The inverse of ``arguments_of``, without the backend."""
    values = dict(zip(NAMES, arguments, strict=True))
    del values["backend"]
    shells = Shells(
        **{name: values.pop(name) for name in ("shell_ptr", "shell_l", "primitive_ptr", "exponents", "weights")}
    )
    return Problem(shells=shells, **values)


@torch.library.custom_op("orbdens::orbital_fields", mutates_args=(), schema=f"({ARGUMENTS}) -> Tensor")
def fields_op(*arguments: Any) -> Tensor:
    fields: Tensor = backend_module(arguments[-1]).forward(problem_of(arguments))
    return fields


@fields_op.register_fake
def _(*arguments: Any) -> Tensor:
    points, coefficients = arguments[0], arguments[NAMES.index("coefficients")]
    return torch.empty((points.shape[0], coefficients.shape[1]), dtype=points.dtype, device=points.device)


@torch.library.custom_op(
    "orbdens::orbital_fields_vjp", mutates_args=(), schema=f"(Tensor grad, bool[] wants, {ARGUMENTS}) -> Tensor[]"
)
def vjp_op(grad: Tensor, wants: list[bool], *arguments: Any) -> list[Tensor]:
    problem = problem_of(arguments)
    results = backend_module(arguments[-1]).vjp(problem, grad.detach(), list(wants))
    return [grad.new_empty(0) if result is None else result for result in results]


@vjp_op.register_fake
def _(grad: Tensor, wants: list[bool], *arguments: Any) -> list[Tensor]:
    sources = [arguments[NAMES.index(name)] for name in DIFFERENTIABLE]
    return [
        torch.empty_like(source, memory_format=torch.contiguous_format) if want else grad.new_empty(0)
        for source, want in zip(sources, wants, strict=True)
    ]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.tensors = [isinstance(value, Tensor) for value in inputs]
    ctx.others = [None if isinstance(value, Tensor) else value for value in inputs]
    ctx.save_for_backward(*[value for value in inputs if isinstance(value, Tensor)])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = iter(ctx.saved_tensors)
    inputs = [next(saved) if is_tensor else other for is_tensor, other in zip(ctx.tensors, ctx.others, strict=True)]
    wants = [bool(ctx.needs_input_grad[NAMES.index(name)]) for name in DIFFERENTIABLE]
    results: list[Tensor | None] = [None] * len(NAMES)
    gradients = vjp_op(grad, wants, *inputs)
    for name, want, gradient in zip(DIFFERENTIABLE, wants, gradients, strict=True):
        if want:
            results[NAMES.index(name)] = gradient
    return tuple(results)


torch.library.register_autograd("orbdens::orbital_fields", _backward, setup_context=_setup_context)
