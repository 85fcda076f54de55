"""The interface every model implements: a structure goes in, a density field comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, overload

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.store import GridRecord, OrbitalRecord, Store
from orbdens.structure import Structure

BATCH_SIZE = 32
"""Structures encoded at once in prediction, which bounds the memory."""

Record = OrbitalRecord | GridRecord
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, of how many)."""


class DensityModel(nn.Module, ABC):
    """Built as ``Model(config, facts)`` from its part of the config and from facts taken once from the training store.

    ``facts`` is plain JSON, travels in the checkpoint beside the config, and makes a model independent of the store:
    at least ``valence_electrons`` {symbol: electrons its density holds} for the elements the model knows.
    """

    equivariant: ClassVar[bool]
    """Whether densities turn, mirror and permute with the molecule to float precision."""

    config: Any
    facts: dict[str, Any]

    def __init__(self, config: Any, facts: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.facts = facts

    @classmethod
    @abstractmethod
    def facts_from(cls, config: Any, store: Store, keys: Sequence[str]) -> dict[str, Any]:
        """What the model has to know of the training records ``keys``."""

    @abstractmethod
    def prepare(
        self, store: Store, keys: Sequence[str], cache: Path, progress: Progress, *, fresh: bool = True
    ) -> None:
        """Once before the first step: compute targets into the folder ``cache``, set scales. May be interrupted.

        A model that is not ``fresh`` was trained before and keeps its scales: its weights belong to them.
        """

    @abstractmethod
    def example(self, key: str, record: Record, rng: np.random.Generator, fraction: float) -> Any:
        """One training example, for use when the run has come this far (0 to 1). All chance comes from ``rng``."""

    @abstractmethod
    def collate(self, examples: list[Any]) -> Any:
        """Many examples to the batch that ``loss`` takes (anything Lightning can move to a device)."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Mean loss over the batch, a scalar."""

    def finish(self, store: Store, keys: Sequence[str], validation: Sequence[tuple[Structure, float]]) -> None:
        """Once after the last step, e.g. to learn what is familiar.

        Args:
            store: where the records are.
            keys: those trained on.
            validation: structures not trained on, each with the NMAE in % of its prediction.
        """

    @abstractmethod
    def encode(self, structures: Sequence[Structure]) -> list[Density]:
        """Densities of structures that passed ``check``."""

    @overload
    def predict(self, atoms: ase.Atoms | Structure) -> Density: ...

    @overload
    def predict(self, atoms: Sequence[ase.Atoms | Structure]) -> list[Density]: ...

    @torch.no_grad()
    def predict(self, atoms: ase.Atoms | Structure | Sequence[ase.Atoms | Structure]) -> Density | list[Density]:
        """Density of one molecule or crystal, or densities of many, in inference mode.

        Args:
            atoms: positions in Å; of ASE's Atoms, ``info`` may hold ``charge`` (e) and ``multiplicity``.

        Raises:
            UserError: a structure cannot be computed, or holds an element the model never saw.
        """
        if isinstance(atoms, ase.Atoms | Structure):
            return self.predict([atoms])[0]
        structures = [Structure.from_ase(item) if isinstance(item, ase.Atoms) else item for item in atoms]
        for index, structure in enumerate(structures):
            structure.check(f"structure {index + 1}")
            self.count_electrons(structure)
        training = self.training
        self.eval()
        try:
            batches = [structures[i : i + BATCH_SIZE] for i in range(0, len(structures), BATCH_SIZE)]
            with torch.autocast(self.device.type, enabled=False):  # also when a mixed-precision run validates
                return [field for batch in batches for field in self.encode(batch)]
        finally:
            self.train(training)

    def count_electrons(self, structure: Structure) -> float:
        """Electrons the predicted density must hold (valence electrons where the training data are such).

        Raises:
            UserError: an element the model never saw, or a charge that leaves no electrons.
        """
        known = self.facts["valence_electrons"]
        symbols = [chemical_symbols[z] for z in structure.numbers]
        unknown = sorted(set(symbols) - set(known))
        if unknown:
            raise UserError(f"the model never saw {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
        electrons = float(sum(known[s] for s in symbols) - structure.charge)
        if electrons <= 0:
            raise UserError(f"{structure.formula} with a charge of {structure.charge:+d} has no electrons left")
        return electrons

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def to_device(self, device: str) -> Self:
        return self.to(torch.device(device))
