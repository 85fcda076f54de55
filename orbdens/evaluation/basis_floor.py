"""``orbdens fit``: the floor of a basis, that is how far the closest densities it can hold are from the references."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.config import OrbitalConfig, find_config, load_config, parse_config
from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.metrics import REGIONS, Summary, density_error, distances_to_atoms, nmae
from orbdens.models.orbital.basis import Basis, make_basis
from orbdens.models.orbital.density_fitting import fit_record
from orbdens.sampling import evenly_spaced
from orbdens.sites import place_sites, type_name
from orbdens.store import GridRecord, OrbitalRecord, Store, open_store
from orbdens.structure import Structure

SPACING, MARGIN = 0.2, 4.0
"""Å; grid on which orbital records are compared."""

HIGHEST_L = 6
"""Of the network's features, in configs that serve to name a basis: there is no network that could limit it."""


@dataclass(frozen=True)
class Fit:
    """Errors of least-squares fits per structure, all in the same order.

    Attributes:
        store: name of the store's folder.
        split: named split the structures are from.
        model: its ``sites``, ``basis`` and ``orbital_cutoff`` are what was measured.
        spacing: Å; None for grid records, which are compared on their own grids.
        margin: Å; as ``spacing``.
        radial_functions: for each site type the number of orthonormal radial functions of l = 0, 1, ...
        keys: of the structures.
        nmae: %.
        regions: share of each region in the NMAE, %.
        elements: share of the points nearest to atoms of each element in the NMAE, %.
        within: NMAE in % of those points alone; None where a structure has none.
        l2: ‖ρ_f − ρ‖ / ‖ρ‖ on the grid, %.
        electrons: electron count of the fit minus the exact one.
        coefficients: number of coefficients.
    """

    store: str
    split: str
    model: OrbitalConfig
    spacing: float | None
    margin: float | None
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
        """Summaries of nmae, l2 and each region [%], ``at C`` and ``within C`` for each element [%], electrons, and
        coefficients."""
        errors = {"nmae": self.nmae, "l2": self.l2, "electrons": self.electrons, **self.regions}
        errors |= {"coefficients": [float(n) for n in self.coefficients]}
        errors |= {f"at {symbol}": values for symbol, values in self.elements.items()}
        errors |= {f"within {s}": [x for x in values if x is not None] for s, values in self.within.items()}
        return {name: Summary.of(values) for name, values in errors.items()}

    def write(self, path: Path) -> None:
        """Write as JSON, summaries included, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        measured = {"sites", "basis", "orbital_cutoff"}
        tree: dict[str, Any] = {"format": "orbdens fit", "format_version": 1, **asdict(self)}
        tree["model"] = self.model.model_dump(include=measured)
        tree["summary"] = {name: vars(summary) for name, summary in self.summary().items()}
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(tree) + "\n", encoding="utf-8")


def choose(config: Path | None = None, sites: str | None = None, **basis: str | float | None) -> OrbitalConfig:
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
        {"data": {"store": "any"}, "model": tree, "training": {"steps": 1}}, "the options of orbdens fit"
    ).model
    assert isinstance(model, OrbitalConfig)
    return model


def fit(
    store: str,
    model: OrbitalConfig,
    split: str = "train",
    n: int = 20,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fit:
    """Fit a basis to reference densities and compare.

    The fits are closest in L2, so other densities of the basis can have a slightly smaller NMAE. Fits of grid records
    are to a sample of their points and less close.

    Args:
        store: folder of the store, or ``lithium-oxide``.
        model: what has the basis.
        split: named split of the store.
        n: at most so many of its structures, evenly spaced.
        on_progress: called with the number of structures done and their total.

    Raises:
        UserError: no such store or split, or the basis cannot be made for an element.
    """
    records = open_store(store)
    keys = evenly_spaced(records.keys(split), n)
    if not keys:
        raise UserError(f"split '{split}' of {store} is empty")
    structures = [records[key].structure for key in keys]
    basis = make_basis(sorted({int(z) for s in structures for z in place_sites(s, model.sites).types}), model.basis)
    symbols = [chemical_symbols[z] for z in np.unique(np.concatenate([s.numbers for s in structures]))]
    own_grids = records.manifest.label_basis is None
    result = Fit(
        store=records.path.resolve().name,
        split=split,
        model=model,
        spacing=None if own_grids else SPACING,
        margin=None if own_grids else MARGIN,
        radial_functions={
            type_name(kind): [radial.n_radial for radial in radials]
            for kind, radials in zip(basis.types, basis.radials, strict=True)
        },
        keys=keys,
        nmae=[],
        regions={region: [] for region in REGIONS},
        elements={symbol: [] for symbol in symbols},
        within={symbol: [] for symbol in symbols},
        l2=[],
        electrons=[],
        coefficients=[],
    )
    for done, key in enumerate(keys, 1):
        record = records[key]
        field, n_coefficients = _fitted(record, records, basis, model)
        result.coefficients.append(n_coefficients)
        _add(result, record, field, records)
        on_progress(done, len(keys))
    return result


def _fitted(
    record: OrbitalRecord | GridRecord, store: Store, basis: Basis, model: OrbitalConfig
) -> tuple[OrbitalDensity, int]:
    """The closest density, and its number of coefficients."""
    fitted = fit_record(record, store, basis, model.sites)
    placed = place_sites(record.structure, model.sites)
    kinds = torch.as_tensor(basis.index(placed.types))
    coefficients = basis.primitives(basis.per_type(fitted["coefficients"].double(), kinds), kinds)
    density = OrbitalDensity(
        structure=record.structure,
        site_positions=placed.positions,
        site_types=kinds.numpy(),
        shells=basis.shells,
        coefficients=coefficients.numpy(),
        cutoff=model.orbital_cutoff,
    )
    return density, len(fitted["coefficients"])


def _add(result: Fit, record: OrbitalRecord | GridRecord, field: Density, store: Store) -> None:
    structure = record.structure
    label = label_density(record, store.manifest)
    grid = label.native_grid or Grid.around(structure, SPACING, MARGIN)
    reference = label.on(grid).astype(np.float64)
    fitted = field.on(grid)
    numbers = np.unique(structure.numbers)
    distances = np.stack([distances_to_atoms(_only(structure, number), grid) for number in numbers])
    error = density_error(fitted, reference, distances.min(axis=0))
    result.nmae.append(error.nmae)
    for region, share in error.regions.items():
        result.regions[region].append(share)
    result.l2.append(float(100 * np.linalg.norm(fitted - reference) / np.linalg.norm(reference)))
    result.electrons.append(field.n_electrons - store.manifest.n_electrons(structure))
    nearest = numbers[distances.argmin(axis=0)]
    total = np.abs(reference).sum()
    for symbol, shares in result.elements.items():
        mine = nearest == chemical_symbols.index(symbol)
        own_total = np.abs(reference[mine]).sum()
        own = nmae(fitted[mine], reference[mine]) if own_total > 0 else None
        shares.append(0.0 if own is None else float(own * own_total / total))
        result.within[symbol].append(own)


def _only(structure: Structure, number: np.int64) -> Structure:
    """The atoms of one element."""
    mine: NDArray[np.bool_] = structure.numbers == number
    return Structure(structure.numbers[mine], structure.positions[mine], structure.cell, structure.pbc)
