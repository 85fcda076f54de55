"""How networks on grids learn: label densities on their own grids, as they are or turned and mirrored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.models.grid_model import GridModel
from orbdens.models.grids import WAYS, network_grid, turned
from orbdens.models.promolecules import correction_at, free_atom_facts
from orbdens.models.task import GradientTask, Stage, TrainingData, states_of
from orbdens.observables.free_atoms import charged_promolecule
from orbdens.sampling import evenly_spaced
from orbdens.store import Store
from orbdens.store.cache import TensorCache

SCALE_RECORDS = 16
"""Training records whose values set the scale of what a network gives."""

LABELS_AT_ONCE = 16
"""Labels computed between two writes to the cache."""

Network = TypeVar("Network", bound=GridModel)


class GridBatch(NamedTuple):
    """Structures on grids of one shape; both in units of the model's scale.

    Attributes:
        inputs: float32 [n_structures, n_channels, nx, ny, nz].
        labels: what the network shall give, float32 [n_structures, nx, ny, nz].
    """

    inputs: Tensor
    labels: Tensor


class GridTask(GradientTask[Network], Stage):
    """Learns what the network shall give on its own grids: one stage from first to last.

    Labels in the orientation of their record are computed once and cached; those of any other orientation anew.
    """

    begins = 0.0

    @classmethod
    def facts(cls, config: Any, data: TrainingData) -> dict[str, Any]:
        """Elements, charges and spins of the records, and the scale of the network's values.

        Raises:
            UserError: as ``free_atom_facts``.
        """
        store, keys, options = data.store, data.keys, config.model
        structures = [store.structure(key) for key in keys]
        symbols = {z: symbol for s in structures for z, symbol in zip(s.numbers.tolist(), s.symbols, strict=True)}
        known = [symbols[z] for z in sorted(symbols)]
        if options.on_promolecule:
            facts = free_atom_facts(store.manifest, known)
        else:
            facts = {"valence_electrons": {symbol: store.manifest.valence_electrons[symbol] for symbol in known}}
        squares = []
        for key in evenly_spaced(keys, SCALE_RECORDS):
            values = label_values(store, key, network_grid(store.structure(key), options), options.on_promolecule)
            squares.append(np.square(values, dtype=np.float64).mean())
        return {**facts, "states": states_of(structures), "scale": float(np.sqrt(np.mean(squares)))}

    def __init__(self, model: Network, config: Any, data: TrainingData, *, fresh: bool = True) -> None:
        self.model, self.store, self.stages = model, data.store, [self]
        self.objective, options = config.objective, model.config
        self.labels: TensorCache | None = None
        periodic = any(data.store.structure(key).periodic for key in data.keys)
        if self.objective.augmentation == "rotations" and not periodic:
            return
        what = "corrections" if options.on_promolecule else "labels"
        name = f"grid-{what}-{options.spacing:g}-{options.margin:g}-{options.multiple}"
        self.labels = TensorCache(data.cache / name, data.store.manifest.source())
        missing = self.labels.missing(data.keys)
        for start in range(0, len(missing), LABELS_AT_ONCE):
            entries = {}
            for key in missing[start : start + LABELS_AT_ONCE]:
                grid = network_grid(data.store.structure(key), options)
                values = label_values(data.store, key, grid, options.on_promolecule)
                entries[key] = {"density": torch.from_numpy(values)}
            self.labels.put_many(entries)
            done = len(data.keys) - len(missing) + start + len(entries)
            data.progress("label densities on grids", done, len(data.keys))

    def example(self, key: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [n_channels, nx, ny, nz] and labels [nx, ny, nz] in units of the scale."""
        structure, way = self.store.structure(key), 0
        if self.objective.augmentation == "rotations" and not structure.periodic:
            turn = any_orientation(rng)
            structure = replace(structure, positions=structure.positions @ turn.T)
            grid = network_grid(structure, self.model.config)
            labels = torch.from_numpy(label_values(self.store, key, grid, self.model.config.on_promolecule, turn))
        else:
            assert self.labels is not None
            grid, labels = network_grid(structure, self.model.config), self.labels.get(key)["density"]
            if self.objective.augmentation != "none":
                way = int(rng.integers(WAYS))
        free = self.model.free_atoms(structure)
        inputs = self.model.inputs(structure, grid, None if free is None else free.on(grid))
        return turned(inputs, way), turned(labels / self.model.facts["scale"], way)

    def collate(self, examples: list[tuple[Tensor, Tensor]]) -> tuple[GridBatch, ...]:
        """Those of one shape together: nothing is padded."""
        of_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for inputs, labels in examples:
            of_shape[labels.shape].append((inputs, labels))
        parts = (zip(*same, strict=True) for same in of_shape.values())
        return tuple(GridBatch(torch.stack(inputs), torch.stack(labels)) for inputs, labels in parts)

    def loss(self, batch: Sequence[GridBatch]) -> Tensor:
        """Mean error over the points of each structure's grid, in units of the scale, mean over structures."""
        losses = []
        for part in batch:
            errors = self.model.values(part.inputs) - part.labels
            errors = errors.square() if self.objective.loss == "squares" else errors.abs()
            losses.append(errors.flatten(1).mean(dim=1))
        return torch.cat(losses).mean()


def label_values(
    store: Store, key: str, grid: Grid, on_promolecule: bool, turn: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """What a network shall give of a record, e/Å³, of the grid's shape: its density or what free atoms lack of it.

    Args:
        store: holds the record.
        key: of the record.
        grid: the points.
        on_promolecule: whether the network's values are added to free atoms.
        turn: of a structure whose positions were multiplied by this matrix [3, 3]; None for the record's own.
    """
    label = stored_density(store, key)
    if turn is None and not on_promolecule:
        return label.on(grid)
    points = grid.points() if turn is None else grid.points() @ turn
    if not on_promolecule:
        return label.at(points).reshape(grid.shape)
    free = charged_promolecule(label.structure, "all-electron" if label.has_cores else "valence")
    return correction_at(label, free, points).reshape(grid.shape)


def any_orientation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation or, as often, a rotation with inversion, uniform over all of them [3, 3]."""
    from scipy.spatial.transform import Rotation

    turn: NDArray[np.float64] = Rotation.random(rng=rng).as_matrix() * rng.choice([-1.0, 1.0])
    return turn
