"""Sums of atom-centred Gaussian orbitals at points: one operator, three backends (see README.md beside this file)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.operator import BACKENDS, arguments_of, backend_module, choose_backend, fields_op
from orbdens.kernels.problem import Problem
from orbdens.kernels.reference import solid_harmonics
from orbdens.kernels.shells import Shells, normalisation

__all__ = [
    "BACKENDS",
    "Shells",
    "density_from_orbitals",
    "normalisation",
    "orbital_field_derivatives",
    "orbital_fields",
    "orbital_fields_on_grid",
    "solid_harmonics",
    "validate",
]

MEMORY = 1_000_000_000
TOLERANCE = 1e-8


def validate(backend: str) -> str | None:
    """Why a backend ("reference", "cpu" or "gpu") cannot run on this machine, or None if it can.

    Raises:
        ValueError: unknown name.
    """
    reason: str | None = backend_module(backend).validate()
    return reason


def orbital_fields(
    points: Tensor,
    point_ptr: Tensor,
    site_positions: Tensor,
    site_type: Tensor,
    site_ptr: Tensor,
    shells: Shells,
    coefficients: Tensor,
    *,
    scalings: Tensor | None = None,
    cutoff: float | None = None,
    tolerance: float = TOLERANCE,
    cells: Tensor | None = None,
    pbc: Tensor | None = None,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Sum of orbitals at points: ``f_k(r) = sum_i sum_j coefficients[j, k] chi_j(r - R_i)``, see ``Shells`` for chi.

    With K = 1 the field is a density; with K = n_occupied the columns are the occupied orbitals at the points.
    Differentiable once with respect to points, site_positions, coefficients, scalings and the exponents and weights
    of ``shells``; the distances beyond the cut-off and the images taken are constants in the derivative.

    Args:
        points: [n_points, 3], Å, those of each structure together.
        point_ptr: int64 [n_structures + 1], the points of structure s are ``point_ptr[s]:point_ptr[s + 1]``.
        site_positions: [n_sites, 3], Å.
        site_type: int64 [n_sites], row of ``shells`` of each site.
        site_ptr: int64 [n_structures + 1], the sites of each structure.
        shells: orbitals of each site type.
        coefficients: [n_coefficients, K], sites in order, each with its type's shells in order, m = -l..l in a shell.
        scalings: [n_sites] or None, factors on all exponents of a site. Weights are not changed by it: a caller who
            wants scaled orbitals normalised multiplies the coefficients by scaling^((l + 3/2) / 2).
        cutoff: Å; an orbital is zero at points farther than this from its site. None for no limit.
        tolerance: in the unit of the result; primitives too small to count are skipped, and what is skipped at a
            point sums to at most this in the result. (In gradients the same holds for coefficients of norm >= 1.)
        cells: [n_structures, 3, 3], Å, rows are the lattice vectors, or None.
        pbc: bool [n_structures, 3], axes along which the sites repeat; needed with ``cells``.
        memory: bytes the evaluation may use beside its arguments and result.
        backend: "auto" (cpu, or gpu for tensors on one), "reference", "cpu" or "gpu"; never replaced by another.

    Returns:
        [n_points, K], of the dtype of ``points``; in e/Å³ for K = 1 density coefficients.

    Raises:
        ValueError: an argument has a wrong shape, dtype or device, or contains NaN or infinite values.
        RuntimeError: the backend cannot run here.
    """
    problem = Problem(
        points,
        point_ptr,
        site_positions,
        site_type,
        site_ptr,
        shells,
        coefficients,
        scalings,
        cells,
        pbc,
        cutoff,
        tolerance,
        memory,
    )
    fields: Tensor = fields_op(*arguments_of(problem, choose_backend(backend, points.device)))
    return fields


def orbital_field_derivatives(
    points: Tensor,
    point_ptr: Tensor,
    site_positions: Tensor,
    site_type: Tensor,
    site_ptr: Tensor,
    shells: Shells,
    coefficients: Tensor,
    *,
    scalings: Tensor | None = None,
    cutoff: float | None = None,
    tolerance: float = TOLERANCE,
    cells: Tensor | None = None,
    pbc: Tensor | None = None,
    memory: int = MEMORY,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields with their analytic gradient and Laplacian at the points (GGA functionals, topology).

    Arguments and errors as for ``orbital_fields``; not differentiable. The Laplacian of S_lm f(r²) is
    S_lm (4 r² f'' + (6 + 4 l) f'), because S_lm is harmonic and homogeneous of degree l.

    Returns:
        fields [n_points, K], gradients [n_points, 3, K] in 1/Å of the field, Laplacians [n_points, K] in 1/Å² of it.
    """
    problem = Problem(
        points,
        point_ptr,
        site_positions,
        site_type,
        site_ptr,
        shells,
        coefficients,
        scalings,
        cells,
        pbc,
        cutoff,
        tolerance,
        memory,
    )
    result: tuple[Tensor, Tensor, Tensor] = backend_module(choose_backend(backend, points.device)).derivatives(problem)
    return result


def orbital_fields_on_grid(
    origin: Tensor,
    steps: Tensor,
    shape: tuple[int, int, int],
    site_positions: Tensor,
    site_type: Tensor,
    shells: Shells,
    coefficients: Tensor,
    *,
    scalings: Tensor | None = None,
    cutoff: float | None = None,
    tolerance: float = TOLERANCE,
    cell: Tensor | None = None,
    pbc: Tensor | None = None,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Fields of one structure on the grid ``origin + i steps[0] + j steps[1] + k steps[2]``; not differentiable.

    Where the steps lie along x, y and z, K is 1 and the backend is cpu, Gaussians are taken as products over the axes,
    several times faster than the same points one by one; every other case goes through ``orbital_fields``.

    Args:
        origin: [3], Å, and steps: [3, 3], Å, rows; on any device, read in float64.
        shape: points along each step vector.
        site_positions [n_sites, 3] (Å), site_type, shells, coefficients, scalings, cutoff, tolerance, memory, backend:
            as in ``orbital_fields``.
        cell: [3, 3], Å, and pbc: bool [3], for periodic structures.

    Returns:
        [nx * ny * nz, K], the last step fastest.

    Raises:
        ValueError, RuntimeError: as ``orbital_fields``.
    """
    device, dtype = site_positions.device, site_positions.dtype
    start, vectors = origin.detach().cpu().double(), steps.detach().cpu().double()
    n_points = math.prod(shape)
    name = choose_backend(backend, device)
    cells, axes = (None, None) if cell is None or pbc is None else (cell[None], pbc[None])
    problem = Problem(
        site_positions.new_empty(0, 3),
        torch.tensor([0, 0], device=device),
        site_positions,
        site_type,
        torch.tensor([0, site_type.numel()], device=device),
        shells,
        coefficients,
        scalings,
        cells,
        axes,
        cutoff,
        tolerance,
        memory,
    )
    along_axes = torch.equal(vectors, torch.diag(vectors.diagonal())) and bool((vectors.diagonal() > 0).all())
    if name == "cpu" and along_axes and coefficients.shape[1] == 1 and n_points > 0:
        field: Tensor = backend_module(name).grid_forward(
            problem, start.numpy(), vectors.diagonal().numpy(), np.array(shape)
        )
        return field[:, None]
    out = site_positions.new_empty(n_points, coefficients.shape[1])
    chunk = max(1, memory // 2 // 96)
    with torch.no_grad():
        for begin in range(0, n_points, chunk):
            index = torch.arange(begin, min(begin + chunk, n_points))
            triple = torch.stack([index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]], 1)
            points = (start + triple.double() @ vectors).to(device, dtype)
            part = replace(problem, points=points, point_ptr=torch.tensor([0, len(index)], device=device))
            part = replace(part, memory=memory // 2)
            out[begin : begin + chunk] = fields_op(*arguments_of(part, name))
    return out


def density_from_orbitals(
    points: Tensor,
    site_positions: Tensor,
    site_type: Tensor,
    shells: Shells,
    orbitals: Tensor,
    occupations: Tensor,
    *,
    cutoff: float | None = None,
    tolerance: float = TOLERANCE,
    memory: int = MEMORY,
    backend: str = "auto",
) -> Tensor:
    """Density of one structure from its occupied orbitals, ``sum_k occupations[k] |psi_k(r)|²``, in chunks of points.

    Args:
        points: [n_points, 3], Å.
        site_positions [n_sites, 3] (Å), site_type int64 [n_sites], shells: as in ``orbital_fields``.
        orbitals: [n_coefficients, n_occupied], columns are the orbitals.
        occupations: [n_occupied], electrons.
        cutoff, tolerance, memory, backend: as in ``orbital_fields``; the tolerance bounds the error of each psi.

    Returns:
        [n_points], e/Å³, not differentiable.

    Raises:
        ValueError, RuntimeError: as ``orbital_fields``.
    """
    density = points.new_empty(points.shape[0])
    chunk = max(1, memory // 2 // (2 * points.element_size() * max(1, orbitals.shape[1])))
    sites = torch.tensor([0, site_type.numel()], device=points.device)
    with torch.no_grad():
        for begin in range(0, points.shape[0], chunk):
            part = points[begin : begin + chunk]
            psi = orbital_fields(
                part,
                torch.tensor([0, part.shape[0]], device=points.device),
                site_positions,
                site_type,
                sites,
                shells,
                orbitals,
                cutoff=cutoff,
                tolerance=tolerance,
                memory=memory // 2,
                backend=backend,
            )
            density[begin : begin + chunk] = psi.square() @ occupations.to(psi.dtype)
    return density
