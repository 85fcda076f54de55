"""Starts of self-consistent calculations: PySCF's first orbitals from a predicted density, and the energy they have.

The first Fock matrix is that of the predicted density. Its orbitals respond too strongly to what the prediction has
wrong: where it lacks charge they put too much. So the Coulomb potential, and it alone, moves to where linear response
has the electrons come to rest, by density fitting. The orbitals of that potential are the guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pyscf import dft
from pyscf.tools import molden

from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.observables.free_atoms import core, free_atom, superposition
from orbdens.pyscf.first_fock import (
    SEMILOCAL,
    CoulombFit,
    check_kind,
    exact_exchange,
    exchange_correlation,
    exchange_correlation_energy,
    functional,
    is_hartree_fock,
    is_semilocal,
)
from orbdens.pyscf.response import at_rest, diagonalised, response
from orbdens.structure import Structure
from orbdens.units import BOHR

GRID_LEVEL = 0
"""Of PySCF's quadratures; finer ones for the potential of the predicted density save no cycle and take longer."""

MOVED = 1e-3
"""Å by which an atom of the calculation may lie beside that of the density."""


@dataclass(frozen=True, eq=False)
class FirstOrbitals:
    """The orbitals of the first Fock matrix, as PySCF has them: arrays of a closed shell, pairs of open ones.

    Attributes:
        coefficients: [n_ao, n_orbitals], or [2, n_ao, n_orbitals] of spin up and down.
        energies: Hartree [n_orbitals], or [2, n_orbitals].
        occupations: [n_orbitals], or [2, n_orbitals].
        density_matrix: [n_ao, n_ao], or [2, n_ao, n_ao].
        fit: what the Coulomb matrices were made by.
        bare: Hartree; energy of Harris' functional without exchange and correlation of the density.
        densities: what was predicted, and cores.
        builds: Fock matrices on the way; Coulomb matrices by density fitting are none.
    """

    coefficients: NDArray[np.float64]
    energies: NDArray[np.float64]
    occupations: NDArray[np.float64]
    density_matrix: NDArray[np.float64]
    fit: CoulombFit
    bare: float
    densities: Sequence[OrbitalDensity]
    builds: int

    def write_molden(self, mf: Any, path: Path) -> None:
        """Write the orbitals, occupied and empty, as a Molden file, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        spins = self.energies.ndim == 2
        with written_whole(path) as temporary, temporary.open("w", encoding="ascii") as file:
            molden.header(mf.mol, file)
            for index in range(2 if spins else 1):
                c, e, n = (a[index] if spins else a for a in (self.coefficients, self.energies, self.occupations))
                molden.orbital_coeff(mf.mol, file, c, spin=("Alpha", "Beta")[index], ene=e, occ=n)


@dataclass(frozen=True)
class OneShot:
    """The energy of a predicted density, without self-consistency.

    Attributes:
        energy: Hartree; of the first orbitals, corrected to second order for what is left of their gradient.
        variational: Hartree; of the first orbitals as they are: never below the self-consistent energy.
        harris: Hartree; of Harris' functional, most often below it; None for functionals that need orbitals.
    """

    energy: float
    variational: float
    harris: float | None


def initial_guess(mf: Any, density: Density) -> NDArray[np.float64]:
    """A density matrix for PySCF to begin with: ``mf.kernel(dm0=initial_guess(mf, density))``.

    Where electrons are unpaired it is PySCF's own: nothing in a prediction says in which orbital they are, and some
    radicals would end in another state.

    Args:
        mf: an RHF, UHF, RKS or UKS calculation of PySCF, not yet run: any functional, basis and pseudopotential.
        density: predicted for the same molecule; frozen cores are added where the calculation has electrons for them.

    Returns:
        [n_ao, n_ao], or [2, n_ao, n_ao] of spin up and down.

    Raises:
        UserError: the density is of other atoms, places, charge or spin than the calculation, or has no orbitals; the
            calculation is periodic or of another kind; or there is no core that fits.
    """
    if mf.mol.spin:
        whole_densities(mf, density)  # raises what can be wrong
        own: NDArray[np.float64] = np.asarray(mf.get_init_guess())
        return own
    return first_orbitals(mf, density).density_matrix


def energy(mf: Any, density: Density) -> OneShot:
    """The energy of a calculation from a predicted density and one Fock matrix of its first orbitals.

    The correction is the energy's lowest value to second order along the step that independent electrons would take,
    −½ g² / (g + c): g is twice their gain, c twice the Coulomb energy of the density that moves.

    Args:
        mf, density: as ``initial_guess`` has them.

    Raises:
        UserError: as ``initial_guess``.
    """
    first = first_orbitals(mf, density)
    return energy_of(mf, first)


def energy_of(mf: Any, first: FirstOrbitals) -> OneShot:
    """``energy`` of first orbitals that are there already."""
    potential = mf.get_veff(mf.mol, first.density_matrix)
    variational = float(mf.energy_tot(first.density_matrix, vhf=potential))
    fock = mf.get_hcore() + potential
    gain, change = response((first.energies, first.coefficients, first.occupations), fock)
    moved = first.fit.of_matrix(change)
    correction = 0.5 * gain / (1 + float(moved @ moved) / gain) if gain > 0 else 0.0
    harris = None
    if is_semilocal(mf):
        harris = first.bare + exchange_correlation_energy(functional(mf), first.densities, mf.grids)
    return OneShot(variational - correction, variational, harris)


def first_orbitals(mf: Any, density: Density) -> FirstOrbitals:
    """The orbitals that ``initial_guess`` occupies, and all others; arguments and errors are those of it."""
    densities = whole_densities(mf, density)
    grids = dft.Grids(mf.mol)
    grids.level = GRID_LEVEL
    grids.build(with_non0tab=True)
    fit, builds = CoulombFit(mf), 1
    fitted = fit.of_densities(densities)
    semilocal = is_semilocal(mf)
    exchange, of_exchange = exchange_correlation(mf.mol, functional(mf) if semilocal else SEMILOCAL, densities, grids)
    alone = mf.get_hcore() + fit.potential(fitted)
    fock = alone + exchange
    energies, coefficients, occupations = diagonalised(mf, fock)
    counted_twice = 0.5 * float(fitted @ fitted) + of_exchange
    bare = float((occupations * energies).sum()) + float(mf.mol.energy_nuc()) - counted_twice
    matrix = mf.make_rdm1(coefficients, occupations)
    exact = None if semilocal else exact_exchange(mf, matrix)
    if exact is not None:
        fock, builds = alone + exact, 2
        if not is_hartree_fock(functional(mf)):
            fock = fock + exchange_correlation(mf.mol, functional(mf), densities, grids)[0]
    energies, coefficients, occupations = diagonalised(mf, at_rest(mf, fit, fock, fitted))
    matrix = mf.make_rdm1(coefficients, occupations)
    return FirstOrbitals(coefficients, energies, occupations, matrix, fit, bare, densities, builds)


def whole_densities(mf: Any, density: Density) -> list[OrbitalDensity]:
    """A density and the cores that the calculation has beside it; all else as ``initial_guess`` has it."""
    check_kind(mf)
    if not isinstance(density, OrbitalDensity):
        raise UserError("an initial guess needs a model that predicts orbitals, but this density has none")
    structure = density.structure
    _check_atoms(mf.mol, structure)
    if structure.multiplicity != mf.mol.spin + 1:
        raise UserError(
            f"the density is of multiplicity {structure.multiplicity}, the calculation of {mf.mol.spin + 1}"
        )
    cored = _atoms_with_cores(mf.mol, density)
    parts = [density]
    if cored:
        atoms = Structure(structure.numbers[cored], structure.positions[cored])
        parts.append(superposition(atoms, {symbol: core(symbol) for symbol in sorted(set(atoms.symbols))}))
    electrons = sum(part.n_electrons for part in parts)
    if abs(electrons - mf.mol.nelectron) > 0.5:
        raise UserError(
            f"the density of {structure.formula} holds {electrons:.1f} electrons, the calculation {mf.mol.nelectron}"
        )
    return parts


def _check_atoms(mol: Any, structure: Structure) -> None:
    """Raise UserError unless a PySCF molecule has the atoms of a structure, in order and place."""
    symbols = [mol.atom_pure_symbol(atom) for atom in range(mol.natm)]
    if symbols != structure.symbols:
        raise UserError(
            f"the density is of {structure.formula} ({structure.n_atoms} atoms), the calculation of other atoms or "
            f"another order of them ({mol.natm})"
        )
    moved = np.linalg.norm(mol.atom_coords() * BOHR - structure.positions, axis=1)
    if moved.max() > MOVED:
        raise UserError(
            f"the density was predicted for another geometry: atom {moved.argmax() + 1} of the calculation is "
            f"{moved.max():.3f} Å away"
        )


def _atoms_with_cores(mol: Any, density: OrbitalDensity) -> list[int]:
    """Atoms whose cores are in the calculation but not in the density; raises UserError for other differences.

    Hydrogen is among them: its core has no electrons, but makes its pseudised density peak again.
    """
    valence = density.valence_electrons or {}
    frozen = any(count != atomic_numbers[symbol] for symbol, count in valence.items())
    atoms = []
    for atom, symbol in enumerate(density.structure.symbols):
        held, wanted = valence.get(symbol), mol.atom_charge(atom)
        replaced = {symbol, mol.atom_symbol(atom)} & (mol._pseudo.keys() | mol._ecp.keys())
        if frozen and not replaced and held == round(free_atom(symbol, "valence").n_electrons):
            atoms.append(atom)
        elif held not in (None, wanted):
            raise UserError(
                f"the density holds {held} electrons of {symbol}, the calculation {wanted}, and no frozen core fits"
            )
    return atoms
