"""Small systems for the kernel tests, with PySCF as the outside truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pyscf import gto
from pyscf.df.addons import aug_etb

from orbdens.kernels import Orbitals, Shells

BOHR = 0.529177210903
BENZENE = (
    "C 0 1.395 0; C 1.208 .6975 0; C 1.208 -.6975 0; C 0 -1.395 0; C -1.208 -.6975 0; C -1.208 .6975 0;"
    "H 0 2.48 0; H 2.148 1.24 0; H 2.148 -1.24 0; H 0 -2.48 0; H -2.148 -1.24 0; H -2.148 1.24 0"
)


@dataclass
class System:
    """A PySCF molecule and the same thing as tensors of the kernels, float64."""

    molecule: Any
    positions: torch.Tensor
    site_type: torch.Tensor
    shells: Shells
    columns: list[int]

    @property
    def n_coefficients(self) -> int:
        return self.shells.n_coefficients(self.site_type)

    def orbitals(self, coefficients: torch.Tensor, dtype: torch.dtype = torch.float64, **options: Any) -> Orbitals:
        """The kernels' object with coefficients [n_coefficients, K]; options are further attributes."""
        where, table = self.positions.to(dtype), self.shells.to(dtype=dtype)
        return Orbitals.of_structure(where, self.site_type, table, coefficients.to(dtype), **options)

    def truth(self, points: torch.Tensor, derivatives: int = 0) -> npt.NDArray[np.float64]:
        """PySCF's orbitals in our order and units: [n_points, n_ao], or with second derivatives [10, ...]."""
        kind = "GTOval_sph" if derivatives == 0 else f"GTOval_sph_deriv{derivatives}"
        values = self.molecule.eval_gto(kind, points.double().numpy() / BOHR)[..., self.columns] * BOHR**-1.5
        if derivatives:
            values[1:4] /= BOHR
            values[4:] /= BOHR**2
        return values


def pyscf_columns(molecule: Any) -> list[int]:
    """PySCF's orbital behind each of ours: the same but for l = 1, which PySCF orders x, y, z and we y, z, x."""
    columns: list[int] = []
    for shell in range(molecule.nbas):
        l = molecule.bas_angular(shell)
        for _ in range(molecule.bas_nctr(shell)):
            start = len(columns)
            columns += [start + 1, start + 2, start] if l == 1 else range(start, start + 2 * l + 1)
    return columns


def molecule_of_sites(
    positions: npt.NDArray[np.float64], shells: list[list[tuple[int, list[float], list[float]]]]
) -> Any:
    """A PySCF molecule with its own shells (l, exponents in Å⁻², coefficients) at each position (Å)."""
    names = [f"He{i}" for i in range(len(positions))]
    basis = {
        name: [
            [l, *([a * BOHR**2, c] for a, c in zip(exponents, contraction, strict=True))]
            for l, exponents, contraction in of_site
        ]
        for name, of_site in zip(names, shells, strict=True)
    }
    atoms = list(zip(names, (positions / BOHR).tolist(), strict=True))
    return gto.M(atom=atoms, basis=basis, unit="Bohr", verbose=0, spin=None)


def system(molecule: Any) -> System:
    """The kernels' tensors of a PySCF molecule, with every contracted shell written out."""
    names = sorted({molecule.atom_symbol(i) for i in range(molecule.natm)})
    types: list[list[tuple[int, list[float], list[float]]]] = []
    for name in names:
        atom = next(i for i in range(molecule.natm) if molecule.atom_symbol(i) == name)
        shells = []
        for shell in molecule.atom_shell_ids(atom):
            exponents = (molecule.bas_exp(shell) / BOHR**2).tolist()
            for contraction in np.asarray(molecule.bas_ctr_coeff(shell)).T:
                shells.append((molecule.bas_angular(shell), exponents, contraction.tolist()))
        types.append(shells)
    table = Shells.from_lists(types)
    # libcint keeps its own normalisation; take it over so that both codes hold the same numbers.
    weights = []
    for name in names:
        atom = next(i for i in range(molecule.natm) if molecule.atom_symbol(i) == name)
        for shell in molecule.atom_shell_ids(atom):
            l = molecule.bas_angular(shell)
            for contraction in np.asarray(molecule._libcint_ctr_coeff(shell)).T:
                weights.append(torch.tensor(contraction * BOHR ** (-1.5 - l)))
    return System(
        molecule,
        torch.tensor(molecule.atom_coords() * BOHR),
        torch.tensor([names.index(molecule.atom_symbol(i)) for i in range(molecule.natm)]),
        table.with_radial(table.exponents, torch.cat(weights)),
        pyscf_columns(molecule),
    )


def even_tempered(atoms: str = BENZENE, beta: float = 2.0) -> System:
    """Even-tempered basis by PySCF's rule from def2-QZVPPD."""
    orbital = gto.M(atom=atoms, basis="def2-qzvppd", verbose=0)
    return system(gto.M(atom=atoms, basis=aug_etb(orbital, beta=beta), verbose=0))


def contracted(atoms: str = BENZENE) -> System:
    """A GTH contracted basis, as the label densities use it."""
    return system(gto.M(atom=atoms, basis="gth-dzvp-molopt-sr", pseudo="gth-pbe", verbose=0))


def random_points(n: int, spread: float = 4.0, seed: int = 0) -> torch.Tensor:
    """Points [n, 3] in a box of ±spread Å."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, generator=generator, dtype=torch.float64) * 2 - 1) * spread


def random_coefficients(n: int, k: int, seed: int = 1) -> torch.Tensor:
    """Coefficients [n, k], of order 0.1."""
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1
