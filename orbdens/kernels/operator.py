"""The torch operator: one custom op with one derivative rule, whichever backend runs it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orbdens.kernels.backends import load_backend
from orbdens.kernels.checks import check_numbers, check_pointers, check_shape
from orbdens.kernels.orbitals import DIFFERENTIABLE, Orbitals
from orbdens.kernels.shells import Shells

ARGUMENTS = (
    "Tensor points, Tensor point_ptr, Tensor site_positions, Tensor site_type, Tensor site_ptr, Tensor shell_ptr, "
    "Tensor shell_l, Tensor primitive_ptr, Tensor exponents, Tensor weights, Tensor coefficients, Tensor? scalings, "
    "float? cutoff, Tensor? cells, Tensor? pbc, float tolerance, bool checked, int memory, str backend"
)
NAMES = [argument.split()[-1] for argument in ARGUMENTS.split(",")]


def check_points(orbitals: Orbitals, points: Tensor, point_ptr: Tensor) -> None:
    """Raise ValueError unless points [n_points, 3] and pointers [n_structures + 1] suit the orbitals."""
    check_shape("points", points, "n_points", 3)
    check_numbers("points", points, orbitals.coefficients, "the orbitals")
    check_shape("point_ptr", point_ptr, orbitals.n_structures + 1)
    check_pointers("point_ptr", point_ptr, points.shape[0])


def arguments_of(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, backend: str) -> tuple[Any, ...]:
    """The flat arguments of the custom op."""
    values = vars(orbitals) | vars(orbitals.shells)
    values |= {"points": points, "point_ptr": point_ptr, "memory": memory, "backend": backend}
    return tuple(values[name] for name in NAMES)


def objects_of(arguments: tuple[Any, ...]) -> tuple[Orbitals, Tensor, Tensor, int]:
    """The inverse of ``arguments_of``, without the backend."""
    values = dict(zip(NAMES, arguments, strict=True))
    shells = Shells(
        **{name: values.pop(name) for name in ("shell_ptr", "shell_l", "primitive_ptr", "exponents", "weights")}
    )
    points, point_ptr, memory, _ = (values.pop(name) for name in ("points", "point_ptr", "memory", "backend"))
    return Orbitals.unchecked(shells=shells, **values), points, point_ptr, memory


def evaluate(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, backend: str) -> Tensor:
    """Fields [n_points, K] by the operator, or without it where neither gradients nor a graph are asked for.

    Its first call imports torch's compiler, which takes longer than most predictions.
    """
    if not torch.compiler.is_compiling():
        tensors = {"points": points} | vars(orbitals) | vars(orbitals.shells)
        learning = any(tensors[name] is not None and tensors[name].requires_grad for name in DIFFERENTIABLE)
        if not (learning and torch.is_grad_enabled()):
            return _forward(orbitals, points, point_ptr, memory, backend)
    fields: Tensor = fields_op(*arguments_of(orbitals, points, point_ptr, memory, backend))
    return fields


def _forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, backend: str) -> Tensor:
    if not orbitals.checked:
        orbitals.check()
    check_points(orbitals, points, point_ptr)
    return load_backend(backend).forward(orbitals, points, point_ptr, memory)


@torch.library.custom_op("orbdens::orbital_fields", mutates_args=(), schema=f"({ARGUMENTS}) -> Tensor")
def fields_op(*arguments: Any) -> Tensor:
    return _forward(*objects_of(arguments), arguments[-1])


@fields_op.register_fake
def _(*arguments: Any) -> Tensor:
    points, coefficients = arguments[0], arguments[NAMES.index("coefficients")]
    return torch.empty((points.shape[0], coefficients.shape[1]), dtype=points.dtype, device=points.device)


@torch.library.custom_op(
    "orbdens::orbital_fields_vjp", mutates_args=(), schema=f"(Tensor grad, bool[] wants, {ARGUMENTS}) -> Tensor[]"
)
def vjp_op(grad: Tensor, wants: list[bool], *arguments: Any) -> list[Tensor]:
    results = load_backend(arguments[-1]).vjp(*objects_of(arguments), grad.detach(), list(wants))
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
