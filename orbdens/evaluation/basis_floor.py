"""``orbdens floor``: how far the closest densities that a basis can hold are from the references."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from orbdens.comparison import comparison
from orbdens.config import find_config, load_config, parse_config
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.kernels import Metric
from orbdens.labels import label_density
from orbdens.metrics import (
    MARGIN,
    QUADRATURE,
    REGIONS,
    SPACING,
    DensityError,
    Summary,
    density_error,
    nmae,
)
from orbdens.models.basis import Basis, make_basis
from orbdens.models.density_fitting import fit_label
from orbdens.models.orbital.options import OrbitalConfig, OrbitalObjective
from orbdens.progress import Progress, silent
from orbdens.sampling import evenly_spaced
from orbdens.sites import place_sites, type_name
from orbdens.store import Record, Store, open_store
from orbdens.structure import Structure

HIGHEST_L = 6
"""Highest l of features, in configs that serve to name a basis: there is no network that could limit it."""


@dataclass(frozen=True)
class Floor:
    """Errors of least-squares fits per structure, all in the same order.

    Attributes:
        store: name of the store's folder.
        split: named split the structures are from.
        model: its ``sites``, ``basis`` and ``orbital_cutoff`` are what was measured.
        metric: in which the fits are closest.
        spacing: Å; None for grid records, which are compared on their own grids, and on a quadrature.
        margin: Å; as ``spacing``.
        quadrature: level of the quadrature on which densities with cores are compared; None on grids.
        radial_functions: for each site type the number of orthonormal radial functions of l = 0, 1, ...
        keys: keys of the structures.
        nmae: %.
        regions: share of each region in the NMAE, %.
        elements: share of the points nearest to atoms of each element in the NMAE, %.
        within: NMAE in % of those points alone; None where a structure has none.
        l2: ‖ρ_f − ρ‖ / ‖ρ‖ on the points, %.
        electrons: electron count of the fit minus the exact one.
        coefficients: number of coefficients.
    """

    store: str
    split: str
    model: OrbitalConfig
    metric: Metric
    spacing: float | None
    margin: float | None
    quadrature: int | None
    radial_functions: dict[str, list[int]]
    keys: list[str]
    nmae: list[float]
    regions: dict[str, list[float]]
    elements: dict[str, list[float]]
    within: dict[str, list[float | None]]
    l2: list[float]
    electrons: list[float]
    coefficients: list[int]

    def summary(self) -> dict[str, Summary]:
        """Summaries of nmae and each region [%], ``at C`` and ``within C`` for each element [%], l2 [%], electrons
        (magnitudes) and coefficients, in order."""
        errors: dict[str, Sequence[float]] = {"nmae": self.nmae, **self.regions}
        errors |= {f"at {symbol}": values for symbol, values in self.elements.items()}
        errors |= {f"within {s}": [x for x in values if x is not None] for s, values in self.within.items()}
        errors |= {"l2": self.l2, "electrons": self.electrons, "coefficients": [float(n) for n in self.coefficients]}
        return {name: Summary.of(values) for name, values in errors.items()}

    def write(self, path: Path) -> None:
        """Write as JSON, summaries included, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        tree: dict[str, Any] = {"format": "orbdens floor", "format_version": 1, **asdict(self)}
        tree["model"] = self.model.model_dump(include={"sites", "basis", "orbital_cutoff"})
        tree["summary"] = {name: vars(summary) for name, summary in self.summary().items()}
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(tree) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Compared:
    """A least-squares fit of one structure beside its reference; units as in ``Floor``.

    Attributes:
        elements: share in the NMAE of the points nearest to atoms of each element, and the NMAE of those alone.
    """

    error: DensityError
    elements: dict[str, tuple[float, float | None]]
    l2: float
    electrons: float
    coefficients: int


def basis_options(
    config: Path | None = None, sites: str | None = None, **basis: str | float | list[float] | None
) -> OrbitalConfig:
    """The model section that names a basis: the defaults or those of a config, but for options that are not None.

    Args:
        config: a complete config.
        sites: where orbitals sit.
        basis: options of ``BasisConfig``.

    Raises:
        UserError: the config cannot be read or is not of an orbital model, or an option is out of range.
    """
    tree: dict[str, Any] = {"kind": "orbital", "basis": {}}
    if config is not None:
        model = load_config(find_config(config)).model
        if not isinstance(model, OrbitalConfig):
            raise UserError(f"{config} is of a {model.kind} model, but only orbital models have a basis")
        tree = model.model_dump()
    tree |= {"l_max": HIGHEST_L} | ({} if sites is None else {"sites": sites})
    tree["basis"] |= {name: value for name, value in basis.items() if value is not None}
    model = parse_config(
        {"data": {"store": "any"}, "model": tree, "training": {"steps": 1}}, "the options of orbdens floor"
    ).model
    assert isinstance(model, OrbitalConfig)
    return model


def metric_of(config: Path | None) -> Metric:
    """The metric in which a config fits its labels; ``overlap`` without one.

    Raises:
        UserError: the config cannot be read.
    """
    objective = None if config is None else load_config(find_config(config)).objective
    return objective.metric if isinstance(objective, OrbitalObjective) else "overlap"


def basis_floor(
    store: str | Path,
    model: OrbitalConfig,
    split: str = "train",
    n: int = 20,
    progress: Progress = silent,
    metric: Metric = "overlap",
) -> Floor:
    """Fit a basis to reference densities and compare.

    The fits are closest in a metric, so other densities of the basis can have a slightly smaller NMAE. Fits of records
    on grids or at points are to a sample of these and less close.

    Args:
        store: folder of the store, or ``lithium-oxide``.
        model: what has the basis.
        split: named split of the store.
        n: at most so many of its structures, evenly spaced.
        progress: told of every structure.
        metric: in which the fits are closest: ``overlap`` (L2) or ``coulomb``.

    Raises:
        UserError: no such store or split, the basis cannot be made for an element, all-electron densities on grids, or
            the Coulomb metric of grid records.
    """
    records = open_store(store)
    keys = evenly_spaced(records.keys(split), n)
    if not keys:
        raise UserError(f"split '{split}' of {store} is empty")
    structures = [records[key].structure for key in keys]
    basis = make_basis(sorted({int(z) for s in structures for z in place_sites(s, model.sites).types}), model.basis)
    symbols = [chemical_symbols[z] for z in np.unique(np.concatenate([s.numbers for s in structures]))]
    fits: list[_Compared] = []
    for key in keys:
        fits.append(_compare(records[key], records, basis, model, metric))
        progress("fitting", len(fits), len(keys))
    missing = (0.0, None)
    label = label_density(records[keys[0]], records.manifest)
    on_quadrature = label.has_cores and not label.tabulated
    no_new_grid = label.has_cores or label.tabulated
    return Floor(
        store=records.path.resolve().name,
        split=split,
        model=model,
        metric=metric,
        spacing=None if no_new_grid else SPACING,
        margin=None if no_new_grid else MARGIN,
        quadrature=QUADRATURE if on_quadrature else None,
        radial_functions={
            type_name(site_type): [radial.n_radial for radial in radials]
            for site_type, radials in zip(basis.types, basis.radials, strict=True)
        },
        keys=keys,
        nmae=[fit.error.nmae for fit in fits],
        regions={region: [fit.error.regions[region] for fit in fits] for region in REGIONS},
        elements={symbol: [fit.elements.get(symbol, missing)[0] for fit in fits] for symbol in symbols},
        within={symbol: [fit.elements.get(symbol, missing)[1] for fit in fits] for symbol in symbols},
        l2=[fit.l2 for fit in fits],
        electrons=[fit.electrons for fit in fits],
        coefficients=[fit.coefficients for fit in fits],
    )


def _compare(record: Record, store: Store, basis: Basis, model: OrbitalConfig, metric: Metric) -> _Compared:
    """Fit one record, and compare."""
    structure, label = record.structure, label_density(record, store.manifest)
    points = comparison(label)
    coefficients = fit_label(label, basis, model.sites, metric)["coefficients"]
    fit = _density(structure, coefficients, basis, model)
    reference, fitted = points.values(label).astype(np.float64), points.values(fit)
    distances, atoms = points.nearest()
    nearest, volumes = structure.numbers[atoms], np.broadcast_to(points.volumes, reference.shape)
    return _Compared(
        error=density_error(fitted, reference, distances, volumes),
        elements={
            chemical_symbols[number]: _share(fitted, reference, volumes, nearest == number)
            for number in np.unique(structure.numbers)
        },
        l2=float(100 * np.sqrt((volumes * (fitted - reference) ** 2).sum() / (volumes * reference**2).sum())),
        electrons=fit.n_electrons - store.manifest.n_electrons(structure),
        coefficients=len(coefficients),
    )


def _density(structure: Structure, fitted: Tensor, basis: Basis, model: OrbitalConfig) -> OrbitalDensity:
    """The density of fitted coefficients of a basis."""
    placed = place_sites(structure, model.sites)
    types = torch.as_tensor(basis.index(placed.types))
    return OrbitalDensity(
        structure=structure,
        site_positions=placed.positions,
        site_types=types.numpy(),
        shells=basis.shells,
        coefficients=basis.primitives(basis.per_type(fitted.double(), types), types),
        cutoff=model.orbital_cutoff,
    )


def _share(
    fitted: NDArray[np.float32],
    reference: NDArray[np.float64],
    volumes: NDArray[np.float64],
    chosen: NDArray[np.bool_],
) -> tuple[float, float | None]:
    """What some points add to the NMAE, and the NMAE of those points alone, in %; None where there is no density."""
    part = (volumes * np.abs(reference))[chosen].sum()
    if part == 0:
        return 0.0, None
    within = nmae(fitted[chosen], reference[chosen], volumes[chosen])
    return float(within * part / (volumes * np.abs(reference)).sum()), within
