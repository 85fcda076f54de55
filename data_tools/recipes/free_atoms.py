"""Densities of free atoms with PySCF, H to Kr and I: the file that ships with the package.

    python -m data_tools.recipes.free_atoms OUT.json

Unrestricted PBE, scalar-relativistic (X2C) with all electrons and again with the GTH-PBE pseudopotentials that PySCF
takes by default. Every spin's electrons are spread evenly over the orbitals m of their shell, so that the density is a
sphere's; an uncontracted even-tempered basis. Each density is then fitted by Gaussians of l = 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import dft, gto
from pyscf.data.elements import CONFIGURATION, ELEMENTS

from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.progress import Display
from orbdens.units import BOHR

NUMBERS = (*range(1, 37), 53)
LEVEL = "UKS/PBE, fractional occupation, uncontracted even-tempered basis; X2C all-electron, GTH-PBE valence"
ORBITAL_RATIO = 2.1
"""Of neighbouring exponents of the orbitals."""
DENSITY_RATIO = 1.6
"""Of neighbouring exponents of the fit."""
REACH = 12.0
"""Å up to which the density is fitted."""

RADII = np.geomspace(1e-5, REACH, 4000)
"""Å, where it is fitted."""


def configuration(z: int, valence: list[int] | None = None) -> list[tuple[int, int]]:
    """Electrons of either spin by l, by Hund's first rule within each l; those of the valence where it is given."""
    electrons = valence or CONFIGURATION[z]
    shells = []
    for l, total in enumerate(electrons):
        closed, left = divmod(total, 2 * (2 * l + 1))
        up = min(left, 2 * l + 1)
        shells.append((closed * (2 * l + 1) + up, closed * (2 * l + 1) + left - up))
    while shells[-1] == (0, 0):
        shells.pop()
    return shells


def orbital_exponents(z: int, l: int, pseudo: bool) -> NDArray[np.float64]:
    """Exponents of the even-tempered basis, Bohr⁻²."""
    lowest = (0.02, 0.02, 0.03)[l]
    highest = (60.0, 60.0, 100.0)[l] if pseudo else (4e4 * z**1.5, 200.0 * z**1.5, 20.0 * z)[l]
    return lowest * ORBITAL_RATIO ** np.arange(1 + np.ceil(np.log(highest / lowest) / np.log(ORBITAL_RATIO)))


def spherical_atom(z: int, pseudo: bool) -> Any:
    """The converged calculation of a free atom, whose density is a sphere's.

    Raises:
        UserError: it does not converge.
    """
    symbol = ELEMENTS[z]
    potential = "gth-pbe" if pseudo else None
    valence = gto.basis.load_pseudo("gth-pbe", symbol)[0] if pseudo else None
    shells = configuration(z, valence)
    basis = [[l, [float(a), 1.0]] for l in range(len(shells)) for a in orbital_exponents(z, l, pseudo)]
    spin = sum(up - down for up, down in shells)
    mol = gto.M(atom=[(symbol, (0, 0, 0))], basis={symbol: basis}, pseudo=potential, spin=spin, verbose=0)
    mol.max_memory = 12_000
    calculation = dft.UKS(mol, xc="PBE") if pseudo else dft.UKS(mol, xc="PBE").x2c1e()
    calculation.grids.atom_grid = (200, 50)
    calculation.grids.prune = None
    l_of_orbital = np.concatenate([[mol.bas_angular(b)] * (2 * mol.bas_angular(b) + 1) for b in range(mol.nbas)])
    rows = [np.flatnonzero(l_of_orbital == l).reshape(-1, 2 * l + 1) for l in range(len(shells))]

    def eig(fock: Any, overlap: Any, **_: Any) -> Any:
        from scipy.linalg import eigh

        energies, orbitals = np.zeros((2, mol.nao)), np.zeros((2, mol.nao, mol.nao))
        for s in range(2):
            for l, of_l in enumerate(rows):
                blocks = [(fock[s][np.ix_(m, m)], overlap[np.ix_(m, m)]) for m in of_l.T]
                values, vectors = eigh(np.mean([f for f, _ in blocks], axis=0), np.mean([o for _, o in blocks], axis=0))
                for m in range(2 * l + 1):
                    energies[s][of_l[:, m]] = values
                    orbitals[s][np.ix_(of_l[:, m], of_l[:, m])] = vectors
        return energies, orbitals

    def occupations(energies: Any = None, orbitals: Any = None) -> Any:
        found = np.zeros((2, mol.nao))
        for l, (of_l, electrons) in enumerate(zip(rows, shells, strict=True)):
            for s in range(2):
                filled = np.clip(electrons[s] / (2 * l + 1) - np.arange(len(of_l)), 0, 1)
                found[s][of_l] = filled[:, None]
        return found

    calculation.eig, calculation.get_occ = eig, occupations
    calculation.init_guess, calculation.conv_tol, calculation.max_cycle = "1e", 1e-10, 200
    calculation.kernel()
    if not calculation.converged:
        raise UserError(f"{symbol} does not converge")
    return calculation


def radial_density(calculation: Any) -> NDArray[np.float64]:
    """Density of a spherical atom in e/Å³ at ``RADII``."""
    direction = np.array([0.48, 0.60, 0.64])
    values = calculation.mol.eval_gto("GTOval_sph", RADII[:, None] / BOHR * direction)
    density = sum(calculation.make_rdm1())
    found: NDArray[np.float64] = np.einsum("pi,ij,pj->p", values, density, values) / BOHR**3
    return found


def fitted(
    density: NDArray[np.float64], n_electrons: int, highest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exponents in Å⁻², ascending, and electrons of each Gaussian: the least-squares fit of a radial density.

    Every point counts by its share of the volume, divided by the density: so do tails, which weigh in Hirshfeld's
    ratios. A slight penalty on large coefficients keeps neighbours from cancelling each other.

    Args:
        density: e/Å³ at ``RADII``.
        n_electrons: of the atom; those of the Gaussians add up to it.
        highest: of the exponents, Å⁻².
    """
    exponents = 0.1 * DENSITY_RATIO ** np.arange(1 + np.ceil(np.log(highest / 0.1) / np.log(DENSITY_RATIO)))
    shapes = (exponents / np.pi) ** 1.5 * np.exp(-exponents * RADII[:, None] ** 2)
    weight = np.sqrt(RADII**3 / np.maximum(density, 1e-9))
    rows, target = shapes * weight[:, None], density * weight
    ridge = 1e-7 * np.sqrt((target**2).sum()) * np.eye(len(exponents)) / n_electrons
    scale = 1e4 * np.sqrt((target**2).sum()) / n_electrons
    matrix = np.concatenate([rows, ridge, np.full((1, len(exponents)), scale)])
    aim = np.concatenate([target, np.zeros(len(exponents)), [scale * n_electrons]])
    electrons = np.linalg.lstsq(matrix, aim, rcond=None)[0]
    return exponents, electrons * n_electrons / electrons.sum()


def generate(out: Path, force: bool = False) -> None:
    """Make the file, about ten minutes on one core.

    Raises:
        UserError: ``out`` exists, or an atom does not converge.
    """
    check_output(out, force)
    atoms: dict[str, dict[str, list[list[float]]]] = {"all-electron": {}, "valence": {}}
    tasks = [(z, kind) for z in NUMBERS for kind in atoms]
    with Display() as display:
        for done, (z, kind) in enumerate(tasks, start=1):
            calculation = spherical_atom(z, kind == "valence")
            highest = 5e3 * z**2 if kind == "all-electron" else 200.0
            exponents, electrons = fitted(radial_density(calculation), calculation.mol.nelectron, highest)
            atoms[kind][ELEMENTS[z]] = [[float(f"{x:.12g}") for x in row] for row in (exponents, electrons)]
            display.count("free atoms", done, len(tasks))
    content = {"version": 1, "level": LEVEL, "rows": "exponents in Å⁻², electrons of each Gaussian", **atoms}
    with written_whole(out) as file:
        file.write_text(json.dumps(content, ensure_ascii=False).replace("]], ", "]],\n"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    arguments = parser.parse_args()
    try:
        generate(arguments.out, arguments.force)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
