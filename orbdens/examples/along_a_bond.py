"""Density, gradient and Laplacian along the C-C bond of ethanol, all analytic."""

import numpy as np
from ase.build import molecule

import orbdens

N_POINTS = 13


def main() -> None:
    atoms = molecule("CH3CH2OH")
    first, second = atoms.positions[atoms.symbols == "C"]
    length = np.linalg.norm(second - first)
    direction = (second - first) / length
    distances = np.linspace(0.0, length, N_POINTS)

    density = orbdens.load().predict(atoms)
    values, gradients, laplacians = density.derivatives_at(first + distances[:, None] * direction)

    print("Å from C   density [e/Å³]   slope [e/Å⁴]   Laplacian [e/Å⁵]")
    for distance, value, slope, laplacian in zip(distances, values, gradients @ direction, laplacians, strict=True):
        print(f"{distance:8.3f}{value:17.3f}{slope:15.2f}{laplacian:19.1f}")
    kind = "gathers between" if laplacians[N_POINTS // 2] < 0 else "withdraws from between"
    print(f"Half-way the Laplacian is {laplacians[N_POINTS // 2]:.1f} e/Å⁵: charge {kind} the atoms.")


if __name__ == "__main__":
    main()
