"""What every record and every split of a store must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from orbdens.errors import UserError
from orbdens.store.records import CoefficientRecord, LabelBasis, OrbitalRecord, PointsRecord, Record, SiteOrbitals


def check_splits(splits: Mapping[str, Sequence[str]], has: Callable[[str], bool], store: Path) -> None:
    """Raise UserError if a split names a record that a store does not have, or one is named twice."""
    seen: dict[str, str] = {}
    for split, keys in splits.items():
        for key in keys:
            if not has(key):
                raise UserError(f"split '{split}' names a record '{key}' that {store} does not have")
            if key in seen:
                raise UserError(f"record '{key}' is in split '{seen[key]}' and again in split '{split}'")
            seen[key] = split


def check_record(record: Record, label_basis: LabelBasis | None, site_orbitals: SiteOrbitals | None = None) -> None:
    """Check shapes and finiteness.

    Raises:
        UserError: with the reason, the record not named.
    """
    structure = record.structure
    arrays: dict[str, ArrayLike | None] = {
        "positions": structure.positions,
        "dipole": record.dipole,
        "energy": record.energy,
    }
    if isinstance(record, OrbitalRecord):
        if label_basis is None:
            raise UserError("it has orbitals, but the store has no label basis")
        expected = (label_basis.n_ao(structure.numbers), *record.occupations.shape)
        if record.orbitals.shape != expected:
            raise UserError(f"orbitals have shape {record.orbitals.shape}, expected {expected}")
        if record.spins is not None:
            if record.spins.shape != record.occupations.shape:
                raise UserError(f"spins have shape {record.spins.shape}, occupations {record.occupations.shape}")
            if not np.isin(record.spins, (1, -1)).all():
                raise UserError("spins holds other numbers than 1 and -1")
        arrays |= {"orbitals": record.orbitals, "occupations": record.occupations}
    elif isinstance(record, PointsRecord):
        n = len(record.points)
        if n == 0 or (record.points.shape, record.weights.shape, record.values.shape) != ((n, 3), (n,), (n,)):
            raise UserError("a record of points needs points [n, 3], weights [n] and values [n], n > 0")
        arrays |= {"points": record.points, "weights": record.weights, "values": record.values}
        arrays |= {"cell": structure.cell}
    elif isinstance(record, CoefficientRecord):
        if site_orbitals is None:
            raise UserError("it has coefficients, but the store does not say of what orbitals")
        n = len(record.site_types)
        expected = (n, site_orbitals.n_coefficients(record.site_types))
        if record.site_positions.shape != (n, 3) or record.coefficients.shape != expected[1:]:
            raise UserError(
                f"{n} sites have positions of shape {record.site_positions.shape} and coefficients of shape "
                f"{record.coefficients.shape}, expected {expected[1]} coefficients"
            )
        arrays |= {"site_positions": record.site_positions, "coefficients": record.coefficients}
        arrays |= {"cell": structure.cell, **record.expected}
    else:
        shapes = (record.origin.shape, record.steps.shape, record.values.ndim)
        if shapes != ((3,), (3, 3), 3):
            raise UserError("a grid record needs origin [3], steps [3, 3] and values [nx, ny, nz]")
        if record.spin_values is not None and record.spin_values.shape != record.values.shape:
            raise UserError(f"spin_values have shape {record.spin_values.shape}, values {record.values.shape}")
        arrays |= {"values": record.values, "spin_values": record.spin_values}
        arrays |= {"origin": record.origin, "steps": record.steps, "cell": structure.cell}
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            raise UserError(f"{name} holds numbers that are not finite")
