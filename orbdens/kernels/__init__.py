"""Sums of atom-centred Gaussian orbitals at points: one operator, three backends (see README.md beside this file)."""

from __future__ import annotations

import torch
from torch import Tensor

from .operator import BACKENDS, arguments_of, backend_module, choose_backend, fields_op
from .problem import Problem
from .reference import solid_harmonics
from .shells import Shells, normalisation

__all__ = [
    "BACKENDS",
    "Shells",
    "density_from_orbitals",
    "normalisation",
    "orbital_fields",
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
