"""Fields of orbitals at points and on grids, and their derivatives in space."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from orbdens.kernels.backends import choose_backend, has_second_derivatives, load_backend
from orbdens.kernels.grids import grid_points
from orbdens.kernels.operator import check_points, evaluate
from orbdens.kernels.orbitals import Orbitals

MEMORY = 1_000_000_000


def orbital_fields(
    orbitals: Orbitals,
    points: Tensor,
    point_ptr: Tensor | None = None,
    *,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Sums of orbitals at points: see ``Orbitals`` for what is summed.

    Differentiable once with respect to points and to the positions, coefficients, scalings, exponents and weights of
    the orbitals; the distances beyond the cut-off and the images taken are constants in the derivative.

    Args:
        orbitals: orbitals of one or many structures.
        points: [n_points, 3], Å, those of each structure together, in the precision of the orbitals.
        point_ptr: int64 [n_structures + 1], the points of structure s are ``point_ptr[s]:point_ptr[s + 1]``. None: all
            points belong to the one structure.
        memory: bytes the evaluation may use beside its arguments and result.
        backend: "auto" (cpu, or gpu for tensors on one), "reference", "cpu" or "gpu"; never replaced by another.

    Returns:
        [n_points, K]; in e/Å³ for K = 1 density coefficients.

    Raises:
        ValueError: points or pointers have a wrong shape, dtype or device, or contain NaN or infinite values.
        RuntimeError: the backend cannot run here.
    """
    name = choose_backend(backend, orbitals.device)
    return evaluate(orbitals, points, _pointers(orbitals, points, point_ptr), memory, name)


def orbital_field_derivatives(
    orbitals: Orbitals,
    points: Tensor,
    point_ptr: Tensor | None = None,
    *,
    memory: int = MEMORY,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields with their analytic gradient and Laplacian at the points (GGA functionals, topology).

    Arguments and errors as for ``orbital_fields``; not differentiable. The Laplacian of S_lm f(r²) is
    S_lm (4 r² f'' + (6 + 4 l) f'), because S_lm is harmonic and homogeneous of degree l.

    Returns:
        fields [n_points, K], gradients [n_points, 3, K] in 1/Å of the field, Laplacians [n_points, K] in 1/Å² of it.
    """
    ptr = _pointers(orbitals, points, point_ptr)
    check_points(orbitals, points, ptr)
    return load_backend(choose_backend(backend, orbitals.device)).derivatives(orbitals, points, ptr, memory)


def orbital_field_hessians(
    orbitals: Orbitals,
    points: Tensor,
    point_ptr: Tensor | None = None,
    *,
    memory: int = MEMORY,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields with their analytic gradient and Hessian at the points (critical points, curvature).

    Arguments and errors as for ``orbital_fields``; not differentiable. ``auto`` takes the reference where the fast
    backend of the device has no second derivatives (gpu).

    Returns:
        fields [n_points, K], gradients [n_points, 3, K] in 1/Å of it, Hessians [n_points, 3, 3, K] in 1/Å² of it.
    """
    ptr = _pointers(orbitals, points, point_ptr)
    check_points(orbitals, points, ptr)
    name = choose_backend(backend, orbitals.device)
    if not has_second_derivatives(name):
        if backend != "auto":
            raise RuntimeError(f"backend {name!r} has no second derivatives: take 'reference', or 'cpu'")
        name = "reference"
    hessians: Any = load_backend(name)
    result: tuple[Tensor, Tensor, Tensor] = hessians.second_derivatives(orbitals, points, ptr, memory)
    return result


def orbital_fields_on_grid(
    orbitals: Orbitals,
    origin: Tensor,
    steps: Tensor,
    shape: tuple[int, int, int],
    *,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Fields of one structure on the grid ``origin + i steps[0] + j steps[1] + k steps[2]``; not differentiable.

    A backend may have a faster way for some grids (cpu: steps along x, y and z and K = 1, several times faster than
    the same points one by one; gpu: orbitals are prepared once); all other cases go through ``orbital_fields``. Points
    are made where the orbitals are, piece by piece, and values leave there likewise: a grid may be larger than the
    memory of a device.

    Args:
        orbitals: orbitals of one structure.
        origin: [3], Å, and steps: [3, 3], Å, rows; on any device, read in float64.
        shape: points along each step vector.
        memory, backend: as in ``orbital_fields``.

    Returns:
        [nx * ny * nz, K] in the memory of the processor, the last step fastest.

    Raises:
        ValueError: the orbitals are not those of one structure.
        RuntimeError: the backend cannot run here.
    """
    _check_single(orbitals, "a grid")
    name = choose_backend(backend, orbitals.device)
    start, vectors = origin.detach().cpu().double(), steps.detach().cpu().double()
    forward = getattr(load_backend(name), "grid_forward", None)
    if forward is not None:
        fields: Tensor | None = forward(orbitals, start, vectors, shape)
        if fields is not None:
            return fields
    n_points = math.prod(shape)
    out = torch.empty(n_points, orbitals.n_channels, dtype=orbitals.dtype)
    chunk = max(1, memory // 2 // 96)
    with torch.no_grad():
        for begin in range(0, n_points, chunk):
            end = min(begin + chunk, n_points)
            points = grid_points((begin, end), start, vectors, shape, orbitals.coefficients)
            out[begin:end] = orbital_fields(orbitals, points, memory=memory // 2, backend=name)
    return out


def density_from_orbitals(
    orbitals: Orbitals,
    occupations: Tensor,
    points: Tensor,
    *,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Density of one structure from its occupied orbitals, ``sum_k occupations[k] |psi_k(r)|²``, in chunks of points.

    Args:
        orbitals: orbitals of one structure, each column of the coefficients an occupied orbital; their tolerance bounds
            the error of each psi.
        occupations: [n_occupied], electrons.
        points: [n_points, 3], Å.
        memory, backend: as in ``orbital_fields``.

    Returns:
        [n_points], e/Å³, not differentiable.

    Raises:
        ValueError, RuntimeError: as ``orbital_fields``.
    """
    _check_single(orbitals, "a density from orbitals")
    density = points.new_empty(points.shape[0])
    chunk = max(1, memory // 2 // (2 * points.element_size() * max(1, orbitals.n_channels)))
    with torch.no_grad():
        for begin in range(0, points.shape[0], chunk):
            psi = orbital_fields(orbitals, points[begin : begin + chunk], memory=memory // 2, backend=backend)
            density[begin : begin + chunk] = psi.square() @ occupations.to(psi.dtype)
    return density


def _check_single(orbitals: Orbitals, what: str) -> None:
    if orbitals.n_structures != 1:
        raise ValueError(f"orbitals: {what} needs those of one structure, got {orbitals.n_structures} structures")


def _pointers(orbitals: Orbitals, points: Tensor, point_ptr: Tensor | None) -> Tensor:
    """Pointers to the points of each structure; made for the points of a single one."""
    if point_ptr is not None:
        return point_ptr
    if orbitals.n_structures != 1:
        raise ValueError(f"point_ptr: needed to tell the points of {orbitals.n_structures} structures apart")
    return torch.tensor([0, points.shape[0]], device=orbitals.device)
