"""Many geometries of one molecule: frames of molecular dynamics, or samples of its normal modes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.io.extxyz import read_xyz, write_xyz
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.optimize import BFGS
from numpy.typing import NDArray

from data_tools.generation.forces import calculator
from data_tools.generation.scf import Settings
from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure

METHODS = ("md", "normal-modes")
DIGITS = 8
"""Decimals of positions and momenta in the file; a run goes on from what is written, so that a resumed one is equal."""

MOST_STEPS = 500
"""Of the search for the minimum."""

LARGEST_FORCE = {"md": 0.05, "normal-modes": 0.003}
"""eV/Å at the minimum."""

DISPLACEMENT = 0.01
"""Å; step of the finite differences of forces."""

SOFTEST = 100.0
"""cm⁻¹; slower modes are sampled as if they had this frequency, as harmonic ones they would go far astray."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a part of the work, how much of it is done, and how much there is."""


LEVEL_OF_FORCES = Settings(auxbasis="def2-universal-jfit", grid_level=1)
"""Of PySCF, unless told otherwise: geometries need no finer grid."""


@dataclass(frozen=True)
class Sampling:
    """How frames are made.

    Attributes:
        method: ``md`` (Langevin dynamics) or ``normal-modes`` (classical harmonic vibrations about the minimum).
        temperature: K.
        frames: how many.
        every: fs of dynamics between two frames.
        step: of the dynamics, fs.
        friction: of the dynamics, 1/fs.
        equilibration: fs of dynamics before the first frame.
        seed: of all chance.
        forces: ``pyscf`` or ``tblite``.
        settings: of PySCF.
    """

    method: str = "md"
    temperature: float = 300.0
    frames: int = 1000
    every: float = 40.0
    step: float = 0.5
    friction: float = 0.01
    equilibration: float = 1000.0
    seed: int = 0
    forces: str = "pyscf"
    settings: Settings = LEVEL_OF_FORCES

    def check(self) -> None:
        """Raise UserError if there is no such method or program, or a frame does not come after whole steps."""
        if self.method not in METHODS:
            raise UserError(f"geometries are sampled by {' or '.join(METHODS)}, not by '{self.method}'")
        if self.method == "md" and (self.every < self.step or abs(self.every / self.step % 1) > 1e-6):
            raise UserError(f"frames every {self.every:g} fs are not a multiple of the step of {self.step:g} fs")
        if self.forces == "pyscf":
            self.settings.check()

    def name(self, start: Structure) -> str:
        """Method and a hash of all this, but for the number of frames, and of the molecule: one name, one run."""
        tree = {key: value for key, value in asdict(self).items() if key != "frames"}
        state = (tree, start.numbers.tolist(), start.positions.tolist(), start.charge, start.multiplicity)
        return f"{self.method}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}"


def find_molecule(source: str, seed: int = 0, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """The molecule of a file that ASE reads, or of a SMILES.

    Args:
        source: name of the file, or the SMILES.
        seed: of the first guess of coordinates for a SMILES.
        charge: in place of that of the file or SMILES.
        multiplicity: in place of that of the file or SMILES.

    Raises:
        UserError: neither, RDKit is missing, or the file holds several structures or a crystal.
    """
    if Path(source).exists():
        found = read_structures(Path(source))
        if len(found) != 1 or found[0].periodic:
            what = "a crystal" if len(found) == 1 else f"{len(found)} structures"
            raise UserError(f"expected one molecule in {source}, but it holds {what}")
        structure = found[0]
    else:
        structure = from_smiles(source, seed)
    return Structure(
        structure.numbers,
        structure.positions,
        charge=structure.charge if charge is None else charge,
        multiplicity=structure.multiplicity if multiplicity is None else multiplicity,
    )


def from_smiles(smiles: str, seed: int = 0) -> Structure:
    """Coordinates of a SMILES from RDKit and its force field; unpaired electrons have parallel spins.

    Raises:
        UserError: it is none, RDKit finds no coordinates, or is not installed.
    """
    Chem = import_rdkit(f"there is no file {smiles}, and to read a SMILES")
    from rdkit.Chem import AllChem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise UserError(f"'{smiles}' is neither a file nor a SMILES")
    molecule = Chem.AddHs(molecule)
    if AllChem.EmbedMolecule(molecule, randomSeed=seed) != 0:
        raise UserError(f"RDKit finds no coordinates for '{smiles}'")
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule)
    return Structure(
        np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()]),
        np.array(molecule.GetConformer().GetPositions()),
        charge=Chem.GetFormalCharge(molecule),
        multiplicity=1 + sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()),
    )


def import_rdkit(purpose: str) -> Any:
    """``rdkit.Chem``, which complains by errors and not on the screen.

    Raises:
        UserError: it is not installed; ``purpose`` begins the sentence.
    """
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        raise UserError(f"{purpose} takes RDKit: pip install 'orbdens[geometries]'") from None
    RDLogger.DisableLog("rdApp.*")
    return Chem


def write_geometries(
    start: Structure,
    out: Path,
    sampling: Sampling,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Progress = lambda name, done, total: None,
) -> int:
    """Sample geometries of a molecule into an extended xyz file (Å, eV; charge and multiplicity in every frame).

    Frames gather in a file ``OUT.part``, which takes the final name when all are there.

    Args:
        start: the molecule; it is relaxed first.
        out: file to write.
        sampling: how.
        resume: go on with ``OUT.part``; the frames are the same as those of a run that was left alone.
        overwrite: replace ``out``.
        on_progress: told of the work.

    Returns:
        How many frames were there already.

    Raises:
        UserError: ``out`` cannot be written, ``OUT.part`` is of another run, forces cannot be calculated, or the
            molecule does not relax.
    """
    sampling.check()
    check_output(out, overwrite)
    calculator(sampling.forces, start, sampling.settings)  # complains now about what is missing
    part = out.with_name(out.name + ".part")
    name = sampling.name(start)
    size, done, last = _whole_frames(part, start.n_atoms, name) if resume and part.exists() else (0, 0, None)
    frames = (_dynamics if sampling.method == "md" else _normal_modes)(start, sampling, done, last, on_progress)
    with part.open("a", encoding="utf-8") as file:
        file.truncate(size)
        for number in range(done + 1, sampling.frames + 1):
            frame = next(frames)
            frame.info = {"charge": start.charge, "multiplicity": start.multiplicity, "sampling": name, "frame": number}
            write_xyz(file, [frame], columns=["symbols", "positions", *(["momenta"] if frame.has("momenta") else [])])
            file.flush()
            on_progress("frames", number, sampling.frames)
        os.fsync(file.fileno())
    part.replace(out)
    return done


def _whole_frames(part: Path, n_atoms: int, name: str) -> tuple[int, int, Atoms | None]:
    """Bytes and number of the whole frames of an unfinished file, and the last; a kill may have cut one off.

    Raises:
        UserError: they are of another run.
    """
    lines = part.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    done = len(lines) // (n_atoms + 2)
    lines = lines[: done * (n_atoms + 2)]
    if done == 0:
        return 0, 0, None
    if f"sampling={name}" not in lines[1]:
        raise UserError(f"{part} cannot be resumed: it is of another molecule or was begun with other options")
    last = next(iter(read_xyz(io.StringIO("".join(lines[-(n_atoms + 2) :])), index=slice(None))))
    return len("".join(lines).encode()), done, last


def find_minimum(
    start: Structure,
    program: str,
    settings: Settings,
    largest_force: float = 0.05,
    on_progress: Progress = lambda name, done, total: None,
) -> Atoms:
    """The minimum next to a molecule.

    Args:
        start: the molecule.
        program: of the forces, ``pyscf`` or ``tblite``.
        settings: of PySCF.
        largest_force: eV/Å; left on an atom.
        on_progress: told of the work.

    Raises:
        UserError: forces cannot be calculated, or the molecule does not relax.
    """
    atoms = Atoms(start.numbers, start.positions)
    if len(atoms) == 1:
        return atoms
    atoms.calc = calculator(program, start, settings)
    search = BFGS(atoms, logfile=None)
    for step, converged in enumerate(search.irun(fmax=largest_force, steps=MOST_STEPS)):
        on_progress("relaxing", step, MOST_STEPS)
        if converged:
            return atoms
    raise UserError(f"{start.formula} does not relax within {MOST_STEPS} steps of forces from {program}")


def _relaxed(start: Structure, sampling: Sampling, on_progress: Progress) -> Atoms:
    force = LARGEST_FORCE[sampling.method]
    return find_minimum(start, sampling.forces, sampling.settings, force, on_progress)


def _dynamics(
    start: Structure, sampling: Sampling, done: int, last: Atoms | None, on_progress: Progress
) -> Iterator[Atoms]:
    """Frames of Langevin dynamics. Chance and calculator begin anew at each, so that a run can go on from any."""
    if last is None:
        atoms = _relaxed(start, sampling, on_progress)
        rng = np.random.default_rng((sampling.seed, 0))
        spread = np.sqrt(units.kB * sampling.temperature * atoms.get_masses())
        atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
        Stationary(atoms)
        if len(atoms) > 1:
            ZeroRotation(atoms)
        _move(atoms, start, sampling, sampling.equilibration, rng, on_progress)
    else:
        atoms = last
    for number in range(done + 1, sampling.frames + 1):
        _move(atoms, start, sampling, sampling.every, np.random.default_rng((sampling.seed, number)))
        atoms.positions = _as_written(atoms.positions)
        atoms.set_momenta(_as_written(atoms.get_momenta()))
        yield _bare(atoms)


def _move(
    atoms: Atoms,
    start: Structure,
    sampling: Sampling,
    time: float,
    rng: np.random.Generator,
    on_progress: Progress = lambda name, done, total: None,
) -> None:
    """So many fs of dynamics."""
    atoms.calc = calculator(sampling.forces, start, sampling.settings)
    atoms.set_constraint(FixCom())
    step = sampling.step * units.fs
    run = Langevin(
        atoms, step, temperature_K=sampling.temperature, friction=sampling.friction / units.fs, fixcm=False, rng=rng
    )
    total = round(time / sampling.step)
    for done in range(1, total + 1):
        run.run(1)
        on_progress("equilibrating", done, total)
    atoms.set_constraint()


def _normal_modes(
    start: Structure, sampling: Sampling, done: int, last: Atoms | None, on_progress: Progress
) -> Iterator[Atoms]:
    """Thermal samples of the normal modes about the minimum; every frame has its own chance."""
    atoms = _relaxed(start, sampling, on_progress)
    spread = normal_mode_spread(atoms, sampling.temperature, on_progress)
    for number in range(done + 1, sampling.frames + 1):
        normal = np.random.default_rng((sampling.seed, number)).standard_normal(spread.shape[1])
        frame = _bare(atoms)
        frame.positions = _as_written(atoms.positions + (spread @ normal).reshape(-1, 3))
        yield frame


def normal_mode_spread(
    atoms: Atoms, temperature: float, on_progress: Progress = lambda name, done, total: None
) -> NDArray[np.float64]:
    """Displacement of each normal mode by one standard deviation at a temperature, Å [3 n_atoms, n_modes].

    Raises:
        UserError: the atoms are not at a minimum.
    """
    n = len(atoms)
    hessian = np.zeros((3 * n, 3 * n))
    moved = atoms.copy()
    moved.calc = atoms.calc
    for row in range(3 * n):
        forces = []
        for sign in (1, -1):
            shift = np.zeros(3 * n)
            shift[row] = sign * DISPLACEMENT
            moved.positions = atoms.positions + shift.reshape(-1, 3)
            forces.append(moved.get_forces().reshape(-1))
        hessian[row] = (forces[1] - forces[0]) / (2 * DISPLACEMENT)
        on_progress("force constants", row + 1, 3 * n)
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    inner = _vibrations(atoms)
    values, vectors = np.linalg.eigh(inner.T @ ((hessian + hessian.T) / 2 / np.outer(roots, roots)) @ inner)
    # eigenvalues are ω² in eV/(Å² u)
    to_wave_number = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    lowest = np.sign(values[0]) * np.sqrt(abs(values[0])) * to_wave_number
    if lowest < -SOFTEST:
        raise UserError(f"{atoms.get_chemical_formula()} is not at a minimum: a mode has {-lowest:.0f}i cm⁻¹")
    deviations = np.sqrt(units.kB * temperature / np.maximum(values, (SOFTEST / to_wave_number) ** 2))
    spread: NDArray[np.float64] = (inner @ vectors) * deviations / roots[:, None]
    return spread


def _vibrations(atoms: Atoms) -> NDArray[np.float64]:
    """Orthonormal mass-weighted displacements that neither move nor turn a molecule [3 n_atoms, n_modes]."""
    roots = np.sqrt(atoms.get_masses())[:, None]
    centred = atoms.positions - atoms.get_center_of_mass()
    moves = [roots * axis for axis in np.eye(3)]
    turns = [roots * np.cross(axis, centred) for axis in np.eye(3)]
    outer = np.stack([(move / np.linalg.norm(roots)).reshape(-1) for move in [*moves, *turns]], axis=1)
    vectors, sizes, _ = np.linalg.svd(outer, full_matrices=True)
    rank = int((sizes > 1e-4).sum())  # a linear molecule turns about two axes only
    inner: NDArray[np.float64] = vectors[:, rank:]
    return inner


def _bare(atoms: Atoms) -> Atoms:
    """The atoms without calculator and constraints."""
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def _as_written(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers as they will be read from the file."""
    return np.char.mod(f"%.{DIGITS}f", values).astype(np.float64)
