"""The verbs scf and cp2k: where self-consistent calculations of other programs begin from a predicted density."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbdens.electrons import CountedSlabs
from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.formats.cp2k import USES, finest_grid, write_input
from orbdens.formats.cube import write_cube
from orbdens.prediction import Request, predicted
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.density import Density
    from orbdens.grid import Grid
    from orbdens.pyscf.guess import OneShot


@dataclass(frozen=True)
class Level:
    """A level of theory of PySCF.

    Attributes:
        functional: as PySCF names it; ``hf`` is Hartree-Fock.
        basis: as PySCF names it.
        pseudo: pseudopotential or effective core potential as PySCF names it; ``none`` for all electrons; None takes
            gth-pbe for a GTH basis, else all electrons.
        grid: level of the quadrature grid of the functional, 0 to 9.
    """

    functional: str = "pbe"
    basis: str = "gth-dzvp"
    pseudo: str | None = None
    grid: int = 3

    def calculation(self, structure: Structure) -> Any:
        """PySCF's calculation of a molecule, not yet run, its Coulomb integrals by density fitting.

        Raises:
            UserError: the structure is periodic, PySCF has no such functional, basis or pseudopotential, or they do not
                go with the molecule.
        """
        from pyscf import dft, gto, scf

        from orbdens.pyscf.bases import pseudo_for

        if structure.periodic:
            raise UserError(f"{structure.formula} is periodic, and this is for molecules")
        pseudo = pseudo_for(self.basis, self.pseudo)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PySCF's advice to install more basis sets
                mol = gto.M(
                    atom=list(zip(structure.symbols, structure.positions.tolist(), strict=True)),
                    basis=self.basis,
                    **{"pseudo" if (pseudo or "").lower().startswith("gth") else "ecp": pseudo},
                    charge=structure.charge,
                    spin=structure.multiplicity - 1,
                    verbose=0,
                )
            kind = dft.libxc.xc_type(self.functional)
        except (KeyError, ValueError, RuntimeError, OSError, AssertionError) as error:
            raise UserError(
                f"PySCF cannot calculate {structure.formula} by {self.functional} in {self.basis}: "
                f"{' '.join(str(error).split())[:120]}"
            ) from None
        hybrid = kind == "HF" or dft.libxc.is_hybrid_xc(self.functional)
        if kind == "HF":
            mf = (scf.UHF if mol.spin else scf.RHF)(mol)
        else:
            mf = (dft.UKS if mol.spin else dft.RKS)(mol, xc=self.functional)
            mf.grids.level = self.grid
        mf = mf.density_fit(auxbasis="def2-universal-jkfit" if hybrid else "def2-universal-jfit")
        mf.chkfile = None
        return mf


@dataclass(frozen=True)
class Started:
    """A calculation that began with a predicted density.

    Attributes:
        path: Molden file of its first orbitals.
        density: the prediction.
        one_shot: energies without self-consistency.
        converged: the self-consistent energy, Hartree; None where it was not asked for.
        cycles: of the self-consistent calculation; None likewise.
    """

    path: Path
    density: Density
    one_shot: OneShot
    converged: float | None
    cycles: int | None


def scf_starts(
    request: Request, level: Level, converge: bool = False, progress: Progress = silent
) -> Iterator[Started]:
    """Energies and first orbitals of molecules; a Molden file for each.

    Args:
        request: structures, model, where files go.
        level: of theory.
        converge: go on to self-consistency.
        progress: told of every molecule.

    Raises:
        UserError: as ``predicted`` and ``initial_guess``, PySCF lacks something, a file cannot be written, or a
            calculation does not converge.
    """
    from orbdens.pyscf.guess import whole_densities

    named = list(predicted(request))
    paths = _paths(request, [name for name, _ in named], ".molden")
    calculations = [level.calculation(density.structure) for _, density in named]
    for (_, density), mf in zip(named, calculations, strict=True):
        whole_densities(mf, density)  # raises what can be wrong before the first file is written
    for done, (path, (_, density), mf) in enumerate(zip(paths, named, calculations, strict=True), start=1):
        started = _started(path, density, mf, converge)
        progress("calculations", done, len(paths))
        yield started


def _started(path: Path, density: Density, mf: Any, converge: bool) -> Started:
    from orbdens.pyscf.cycles import accelerate
    from orbdens.pyscf.guess import energy_of, first_orbitals, initial_guess

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Function int1e.*not found")  # PySCF on its own integrals of GTH projectors
        first = first_orbitals(mf, density)
        one_shot = energy_of(mf, first)
        if converge:
            accelerate(mf).kernel(dm0=initial_guess(mf, density) if mf.mol.spin else first.density_matrix)
            if not mf.converged:
                raise UserError(f"{density.structure.formula} has not converged in {mf.cycles} cycles")
    first.write_molden(mf, path)
    return Started(path, density, one_shot, mf.e_tot if converge else None, mf.cycles if converge else None)


@dataclass(frozen=True)
class ForCp2k:
    """Files for CP2K: a cube, and an input for each of ``USES``.

    Attributes:
        cube: the density.
        inputs: in the order of ``USES``.
        density: the prediction.
        shape: points of the cube.
        electrons: sum of the cube.
    """

    cube: Path
    inputs: tuple[Path, ...]
    density: Density
    shape: tuple[int, int, int]
    electrons: float


def cp2k_files(
    request: Request, cutoff: float, cell: NDArray[np.float64] | None = None, progress: Progress = silent
) -> Iterator[ForCp2k]:
    """Densities on the finest grid of CP2K, and inputs that begin with them.

    Args:
        request: structures, model, where files go.
        cutoff: of plane waves, Rydberg.
        cell: Å [3, 3], in which molecules repeat though they are predicted alone; None for structures that have one.
        progress: told of every structure.

    Raises:
        UserError: as ``predicted`` and ``finest_grid``; a structure has no cell, or one beside ``cell``; it has
            unpaired electrons; the density has no orbitals or is not of GTH-PBE valence electrons; a file cannot be
            written.
    """
    from orbdens.observables.cores import check_valence

    named = list(predicted(request))
    cubes = _paths(request, [name for name, _ in named], ".cube")
    inputs = [tuple(_input(cube, use) for use in USES) for cube in cubes]
    for path in (path for of_one in inputs for path in of_one):
        check_output(path, request.force)
    placed = []
    for _, density in named:
        density, lattice = _repeated(density, cell)
        check_valence(density.structure, density.n_electrons)
        grid = finest_grid(lattice, cutoff)
        placed.append((density, lattice, grid))
    for done, (cube, of_one, (density, lattice, grid)) in enumerate(zip(cubes, inputs, placed, strict=True), start=1):
        electrons = _write_counted(cube, density, grid)
        for path, use in zip(of_one, USES, strict=True):
            write_input(path, density.structure, lattice, cutoff, cube, use)
        progress("densities", done, len(cubes))
        yield ForCp2k(cube, of_one, density, grid.shape, electrons)


def _write_counted(cube: Path, density: Density, grid: Grid) -> float:
    """Write a cube slab by slab; the electrons that its values add up to."""
    slabs = CountedSlabs(density.slabs(grid), grid.steps)
    write_cube(cube, density.structure, grid, iter(slabs))
    return slabs.n_electrons


def _input(cube: Path, use: str) -> Path:
    return cube.with_name(f"{cube.stem}.{use}.inp")


def _repeated(density: Density, cell: NDArray[np.float64] | None) -> tuple[Density, NDArray[np.float64]]:
    """A density that repeats with a cell, and the cell."""
    from orbdens.density import OrbitalDensity

    structure = density.structure
    if not isinstance(density, OrbitalDensity):
        raise UserError("CP2K's grid needs a model that predicts orbitals, but this one predicts values on a grid")
    if structure.multiplicity != 1:
        raise UserError(
            f"{structure.formula} has multiplicity {structure.multiplicity}, and CP2K starts from a density of closed "
            "shells alone"
        )
    if structure.periodic:
        if cell is not None or not all(structure.pbc):
            raise UserError(f"{structure.formula} is periodic: then in three dimensions, and without --cell")
        assert structure.cell is not None
        return density, structure.cell
    if cell is None:
        raise UserError(f"{structure.formula} has no cell: say in which one CP2K calculates it, for example --cell 12")
    return replace(density, structure=replace(structure, cell=cell, pbc=(True, True, True))), cell


def _paths(request: Request, names: Sequence[str], suffix: str) -> list[Path]:
    """A path for each structure; UserError if it cannot be written."""
    out = request.out
    if out is not None and out.name.lower().endswith(suffix) and not out.is_dir():
        if len(names) > 1:
            raise UserError(f"{len(names)} structures need a folder to go to, but --out names the one file {out}")
        paths = [out]
    elif out is not None and out.suffix and not out.is_dir():
        raise UserError(f"these files end in {suffix}, but --out names {out}")
    else:
        paths = [(out or Path()) / f"{name}{suffix}" for name in names]
    for path in paths:
        check_output(path, request.force)
    return paths
