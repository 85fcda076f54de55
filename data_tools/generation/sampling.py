"""How geometries of a molecule are sampled."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from data_tools.choices import ForceProgram, SamplingMethod
from data_tools.generation.settings import Settings
from orbdens.errors import UserError
from orbdens.structure import Structure

LEVEL_OF_FORCES = Settings(auxbasis="def2-universal-jfit", grid_level=1)
"""PySCF's forces, unless told otherwise: geometries need no finer grid."""


@dataclass(frozen=True)
class Sampling:
    """How frames are made.

    Attributes:
        method: Langevin dynamics, or classical harmonic vibrations about the minimum.
        temperature: K.
        frames: how many.
        every: fs of dynamics between two frames.
        step: step of the dynamics, fs.
        friction: friction of the dynamics, 1/fs.
        equilibration: fs of dynamics before the first frame.
        seed: seed of the random velocities, forces and displacements.
        forces: program that calculates them.
        settings: of PySCF.
    """

    method: SamplingMethod = "md"
    temperature: float = 300.0
    frames: int = 1000
    every: float = 40.0
    step: float = 0.5
    friction: float = 0.01
    equilibration: float = 1000.0
    seed: int = 0
    forces: ForceProgram = "pyscf"
    settings: Settings = LEVEL_OF_FORCES

    def check(self) -> None:
        """Raise UserError if a frame does not come after whole steps, or PySCF does not know the functional."""
        if self.method == "md" and (self.every < self.step or abs(self.every / self.step % 1) > 1e-6):
            raise UserError(f"frames every {self.every:g} fs are not a multiple of the step of {self.step:g} fs")
        if self.forces == "pyscf":
            self.settings.check()

    def name(self, start: Structure) -> str:
        """Method and a hash of all this, but for the number of frames, and of the molecule: one name, one run."""
        tree = {key: value for key, value in asdict(self).items() if key != "frames"}
        state = (tree, start.numbers.tolist(), start.positions.tolist(), start.charge, start.multiplicity)
        return f"{self.method}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}"
