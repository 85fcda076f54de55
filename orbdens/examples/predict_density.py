"""The density of ethanol by the weights that ship: a cube file, its electrons and the molecule's dipole."""

import numpy as np
from ase.build import molecule

import orbdens
from orbdens.electrons import core_charges
from orbdens.units import DEBYE


def main() -> None:
    model = orbdens.load()
    density = model.predict(molecule("CH3CH2OH"))
    density.to_cube("ethanol.cube")  # 0.2 Å from point to point, 4 Å around the atoms
    print(f"wrote ethanol.cube, {density.n_electrons:.4f} valence electrons")
    print(f"expected NMAE {density.expected_error:.2f} %")

    charges = core_charges(density.structure, model.facts["valence_electrons"])
    dipole = charges @ density.structure.positions + density.dipole  # e·Å: nuclei with their cores, and electrons
    print(f"dipole {np.linalg.norm(dipole) / DEBYE:.2f} Debye")


if __name__ == "__main__":
    main()
