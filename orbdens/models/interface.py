"""What every model is: a structure goes in, a density comes out. How it learns is said in ``task``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, overload

import ase
import torch
from torch import nn

from orbdens.density import Density
from orbdens.devices import FULL, MIXED, PRECISIONS, Device, find_device, full_precision
from orbdens.electrons import electrons_of
from orbdens.errors import UserError
from orbdens.structure import Structure

ATOMS_AT_ONCE = 320
"""Atoms encoded together in prediction, which bounds the memory; a larger structure goes alone."""


class DensityModel(nn.Module, ABC):
    """Built as ``Model(config, facts)`` from the section ``model`` of a config and from facts about its training data.

    ``facts`` is plain JSON and travels in the model file beside the config, so that a model needs no store: at least
    ``valence_electrons`` {symbol: electrons of the neutral atom in its densities} for the elements the model knows.
    ``states`` [[charge, multiplicity], ...], if there, are those of the training data.
    Everything else that is learned stands in parameters and buffers, whose shapes follow from config and facts.
    """

    equivariant: ClassVar[bool]
    """Whether densities turn, mirror and permute with the molecule to float precision."""

    exact_electrons: bool = False
    """Whether densities hold the electrons they must, to float precision."""

    takes_new_elements: ClassVar[bool] = False
    """Whether a trained model may go on learning with elements that it never saw: nothing of it belongs to elements."""

    computes_on_device: ClassVar[bool] = True
    """Whether a device other than the processor computes predictions, and not only evaluates their densities."""

    takes_mixed_precision: ClassVar[bool] = False
    """Whether predictions can be computed in mixed precision."""

    config: Any
    facts: dict[str, Any]
    precision: str = FULL
    """Of predictions: ``FULL`` or ``MIXED``, see ``with_precision``."""

    densities_on: Device | None = None
    """Where densities are evaluated; None for where the weights are."""

    def __init__(self, config: Any, facts: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.facts = facts

    @abstractmethod
    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        """Densities of structures that were checked, and the electrons each of them should hold.

        They carry ``warnings`` of this class.
        """

    @overload
    def predict(self, atoms: ase.Atoms | Structure) -> Density: ...

    @overload
    def predict(self, atoms: Sequence[ase.Atoms | Structure]) -> list[Density]: ...

    def predict(self, atoms: ase.Atoms | Structure | Sequence[ase.Atoms | Structure]) -> Density | list[Density]:
        """Density of one molecule or crystal, or densities of many.

        Args:
            atoms: positions in Å; of ASE's Atoms, ``info`` may hold ``charge`` (e) and ``multiplicity``.

        Raises:
            UserError: a structure cannot be computed, or holds an element the model never saw.
        """
        if isinstance(atoms, ase.Atoms | Structure):
            return next(self.predict_many([atoms]))
        return list(self.predict_many(atoms))

    def predict_many(self, atoms: Sequence[ase.Atoms | Structure]) -> Iterator[Density]:
        """As ``predict``, one after the other, so that not all of them need memory at once.

        All structures are checked before the first is computed.
        """
        structures = [Structure.from_ase(item) if isinstance(item, ase.Atoms) else item for item in atoms]
        electrons = []
        for number, structure in enumerate(structures, start=1):
            structure.check(f"structure {number}")
            electrons.append(self.count_electrons(structure))
        return self._in_batches(structures, electrons)

    def _in_batches(self, structures: Sequence[Structure], electrons: Sequence[int]) -> Iterator[Density]:
        start = 0
        while start < len(structures):
            end, n_atoms = start + 1, structures[start].n_atoms
            while end < len(structures) and n_atoms + structures[end].n_atoms <= ATOMS_AT_ONCE:
                n_atoms += structures[end].n_atoms
                end += 1
            yield from self._encode(structures[start:end], electrons[start:end])
            start = end

    @torch.no_grad()
    def _encode(self, structures: Sequence[Structure], electrons: Sequence[int]) -> list[Density]:
        """In inference mode and full precision, also in the middle of a mixed-precision run that validates."""
        training = self.training
        if training:
            self.eval()  # goes through all modules: half a millisecond
        try:
            with torch.autocast(self.device.type, enabled=False), full_precision():
                densities = self.encode(structures, electrons)
            return [density.to(self.density_device) for density in densities]
        except torch.OutOfMemoryError:
            n_atoms = sum(structure.n_atoms for structure in structures)
            raise UserError(
                f"the memory of {self.device} is too small for {n_atoms} atoms at once: take another --device"
            ) from None
        finally:
            if training:
                self.train()

    def with_precision(self, precision: str) -> Self:
        """This model, which predicts in another precision from now on.

        Args:
            precision: of ``PRECISIONS``. In bfloat16 processors that have instructions for it (AVX512-BF16, AMX) and
                GPUs multiply twice as fast. Densities then differ by about 0.01 % (NMAE); electrons stay exact.

        Raises:
            UserError: there is no such precision, or models of this kind do not take it.
        """
        if precision not in PRECISIONS:
            raise UserError(f"expected {' or '.join(PRECISIONS)}, but the precision is '{precision}'")
        if precision == MIXED and not self.takes_mixed_precision:
            raise UserError(f"models of kind {self.config.kind} predict in full precision only")
        self.precision = precision
        return self

    def count_electrons(self, structure: Structure) -> int:
        """Electrons the predicted density must hold (valence electrons where the training data are such).

        Raises:
            UserError: an element the model never saw, or a charge that leaves no electrons.
        """
        known = self.facts["valence_electrons"]
        unknown = sorted(set(structure.symbols) - set(known))
        if unknown:
            raise UserError(f"the model never saw {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
        electrons = electrons_of(structure, known)
        if electrons <= 0:
            raise UserError(f"{structure.formula} with a charge of {structure.charge:+d} has no electrons left")
        return electrons

    def warnings(self, structure: Structure) -> tuple[str, ...]:
        """What about a structure's charge and multiplicity makes its prediction an extrapolation, or impossible."""
        charge, multiplicity, found = structure.charge, structure.multiplicity, []
        electrons = electrons_of(structure, self.facts["valence_electrons"])
        if (electrons - multiplicity) % 2 == 0 or multiplicity > electrons + 1:
            found.append(
                f"{electrons} electrons do not go with multiplicity {multiplicity}: is the charge {charge:+d} right? "
                "--charge and --multiplicity set them, in Python `charge` and `multiplicity` in the info of the Atoms"
            )
        states = self.facts.get("states")
        if states is not None and [charge, multiplicity] not in states:
            found.append(f"nothing the model learned from had charge {charge:+d} and multiplicity {multiplicity}")
        return tuple(found)

    @property
    def n_parameters(self) -> int:
        """Learned numbers: of a network its parameters, of a regression its weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU for a model without any."""
        weight = next(iter(self.parameters()), next(iter(self.buffers()), None))
        return torch.device("cpu") if weight is None else weight.device

    @property
    def density_device(self) -> Device:
        """Where densities are evaluated."""
        return self.densities_on or Device(self.device)

    def to_device(self, device: str) -> Self:
        """This model, to compute on a device and have its densities evaluated there.

        A model that the processor computes stays there itself.

        Args:
            device: as in ``devices``: auto, cpu, cuda, cuda:N or interpreter.

        Raises:
            UserError: there is no such device here.
        """
        self.densities_on = find_device(device)
        return self.to(self.densities_on.place) if self.computes_on_device else self
