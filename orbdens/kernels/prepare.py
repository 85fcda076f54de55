"""What compiled loops need to know of orbitals, made on the host for either device: tables per type, radii, images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from orbdens.kernels import screening
from orbdens.kernels.blocks import pointers
from orbdens.kernels.cells import complete_cells, wrap
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.shells import Shells

Array = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating]
Index = npt.NDArray[np.int64]


class Tables(NamedTuple):
    """Per type: shells sorted by l into groups of equal l, and their radial functions."""

    group_ptr: Index  # groups of each type [n_types + 1]
    group_l: Index  # [n_groups]
    group_shell_ptr: Index  # entries of shell_order of each group [n_groups + 1]
    shell_order: Index  # shells, sorted by type and l
    shell_offset: Index  # first coefficient of each shell, counted from its site's first
    primitive_ptr: Index
    type_primitive: Index  # first primitive of each type
    exponents: Real
    weights: Real


class Scene(NamedTuple):
    """Sites, their images and how far each primitive reaches."""

    image_ptr: Index  # images of each structure
    image_site: Index
    image_position: Array  # [n_images, 3] float64
    site_type: Index
    coefficient_ptr: Index
    reach_ptr: Index
    reach2: Array
    site_reach: Array
    shell_reach_ptr: Index  # first entry of shell_reach2 of each site
    shell_reach2: Array  # largest reach2 of a shell and those after it in its group, in the order of shell_order
    scalings: Real  # empty where there are none
    cutoff2: float


class Prepared(NamedTuple):
    """Orbitals as the loops take them."""

    tables: Tables
    scene: Scene
    l_max: int
    cells: Array | None  # completed [n_structures, 3, 3]; None where nothing is periodic
    pbc: npt.NDArray[np.bool_] | None

    def wrapped(self, points: Real, point_ptr: Index) -> Real:
        """Points [n, 3] moved into the cells of their structures, where there are any (then in float64)."""
        if self.cells is None or self.pbc is None:
            return points
        structure = np.repeat(np.arange(point_ptr.size - 1), np.diff(point_ptr))
        return wrap(points.astype(np.float64), structure, self.cells, self.pbc)


def prepare(orbitals: Orbitals, at_least: float, corners: Array | None = None) -> Prepared:
    """Orbitals on the host, prepared for the loops.

    Args:
        orbitals: their tensors on the CPU.
        at_least: floor under the coefficient norms used for screening.
        corners: [n, 3], Å, between which the points lie. None: in the cells, of periodic structures.
    """
    tables = _tables(orbitals.shells)
    cells, pbc = None, None
    if orbitals.cells is not None and orbitals.pbc is not None and bool(orbitals.pbc.any()):
        pbc = orbitals.pbc.numpy()
        cells = complete_cells(orbitals.cells.detach().to(torch.float64).numpy(), pbc)
    l_max = int(orbitals.shells.shell_l.max()) if orbitals.shells.shell_l.numel() else 0
    return Prepared(tables, _scene(orbitals, tables, at_least, cells, pbc, corners), l_max, cells, pbc)


def _tables(shells: Shells) -> Tables:
    shell_ptr, shell_l = shells.shell_ptr.numpy(), shells.shell_l.numpy()
    primitive_ptr = shells.primitive_ptr.numpy()
    shell_type = np.repeat(np.arange(shells.n_types), np.diff(shell_ptr))
    # Wide shells first, so that the first one out of reach ends its group.
    widest = np.minimum.reduceat(shells.exponents.detach().numpy(), primitive_ptr[:-1]) if shell_l.size else shell_l
    order = np.lexsort((widest, shell_l, shell_type))
    key = shell_type[order] * 64 + shell_l[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    ends = pointers(2 * shell_l + 1)
    return Tables(
        group_ptr=np.searchsorted(shell_type[order][first], np.arange(shells.n_types + 1)).astype(np.int64),
        group_l=shell_l[order][first],
        group_shell_ptr=np.append(first, order.size).astype(np.int64),
        shell_order=order.astype(np.int64),
        shell_offset=ends[:-1] - ends[shell_ptr[shell_type]],
        primitive_ptr=primitive_ptr,
        type_primitive=primitive_ptr[shell_ptr],
        exponents=shells.exponents.detach().numpy(),
        weights=shells.weights.detach().numpy(),
    )


def _scene(
    orbitals: Orbitals,
    tables: Tables,
    at_least: float,
    cells: Array | None,
    pbc: npt.NDArray[np.bool_] | None,
    corners: Array | None,
) -> Scene:
    shells = orbitals.shells
    shell_ptr, shell_l = shells.shell_ptr.numpy(), shells.shell_l.numpy()
    site_type, site_ptr = orbitals.site_type.numpy(), orbitals.site_ptr.numpy()
    coefficients = orbitals.coefficients.detach().numpy()
    scalings = np.empty(0, coefficients.dtype) if orbitals.scalings is None else orbitals.scalings.detach().numpy()
    strength_ptr = pointers(np.diff(shell_ptr)[site_type])
    strength = screening.shell_strength(site_type, shell_ptr, shell_l, coefficients, strength_ptr, at_least)
    reach_ptr = pointers(np.diff(tables.primitive_ptr[shell_ptr])[site_type])
    cutoff = np.inf if orbitals.cutoff is None else float(orbitals.cutoff)
    reach2, site_reach = screening.site_radii(
        site_type,
        site_ptr,
        shell_ptr,
        shell_l,
        tables.primitive_ptr,
        tables.exponents,
        tables.weights,
        scalings,
        strength,
        strength_ptr,
        reach_ptr,
        orbitals.tolerance,
        cutoff,
    )
    shell_reach2 = screening.suffix_reach(
        site_type,
        tables.group_ptr,
        tables.group_shell_ptr,
        tables.shell_order,
        tables.primitive_ptr,
        tables.type_primitive,
        reach_ptr,
        reach2,
        strength_ptr,
    )
    positions = orbitals.site_positions.detach().to(torch.float64).numpy()
    if cells is not None and pbc is not None:
        inverse = np.linalg.inv(cells).astype(np.float64, copy=False)
        bounds: Array = np.tile(np.array([[0.0] * 3, [1.0] * 3]), (len(cells), 1, 1))
        if corners is not None:
            fractional = corners @ inverse[0]
            bounds[0] = fractional.min(0), fractional.max(0)
        position, site, ptr = screening.images(positions, site_ptr, site_reach, cells, inverse, pbc, bounds)
    else:
        position, site, ptr = positions, np.arange(site_type.size), site_ptr
    return Scene(
        image_ptr=ptr,
        image_site=site,
        image_position=position,
        site_type=site_type,
        coefficient_ptr=shells.coefficient_ptr(orbitals.site_type).numpy(),
        reach_ptr=reach_ptr,
        reach2=reach2,
        site_reach=site_reach,
        shell_reach_ptr=strength_ptr,
        shell_reach2=shell_reach2,
        scalings=scalings,
        cutoff2=cutoff * cutoff,
    )
