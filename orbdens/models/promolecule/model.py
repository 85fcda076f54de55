"""The promolecule: free atoms laid over each other, of which nothing is learned. Every other model should beat it.

Free atoms are spherical PBE densities (``observables/free_atoms.py``), with all electrons or those of the valence as
the store's densities have them. The charge of an ion is taken evenly from all atoms of the molecule that carries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from orbdens.density import Density
from orbdens.models.interface import DensityModel
from orbdens.models.promolecule.options import PromoleculeConfig, PromoleculeRun
from orbdens.models.promolecules import free_atom_facts
from orbdens.models.task import FitTask, TrainingData
from orbdens.observables.free_atoms import charged_promolecule
from orbdens.structure import Structure


class PromoleculeModel(DensityModel):
    """Predicts analytic densities of molecules and crystals, of the elements of a store.

    Facts: ``valence_electrons`` and ``density`` (``valence`` or ``all-electron``).
    """

    equivariant: ClassVar[bool] = True
    exact_electrons = True
    computes_on_device: ClassVar[bool] = False
    config: PromoleculeConfig

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        return [
            replace(
                charged_promolecule(structure, self.facts["density"]),
                warnings=self.warnings(structure),
                valence_electrons=self.facts["valence_electrons"],
            )
            for structure in structures
        ]


class PromoleculeTask(FitTask[PromoleculeModel]):
    """Learns only which electrons the densities of a store hold."""

    @classmethod
    def fit(cls, config: PromoleculeRun, data: TrainingData) -> PromoleculeModel:
        """The model for densities like those of the store.

        Raises:
            UserError: as ``free_atom_facts``.
        """
        manifest = data.store.manifest
        return PromoleculeModel(config.model, free_atom_facts(manifest, manifest.valence_electrons))
