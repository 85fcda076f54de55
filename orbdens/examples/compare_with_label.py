"""A record of a store beside a prediction; first run ``python -m orbdens.examples.train_a_model``."""

import numpy as np

import orbdens
from orbdens.labels import stored_density
from orbdens.metrics import nmae
from orbdens.store import open_store
from orbdens.units import DEBYE


def main() -> None:
    store = open_store("lithium-oxide")  # or the folder of any store
    key = store.keys("test")[0]
    label = stored_density(store, key)  # exact: Σ n|ψ|² of the record's orbitals
    predicted = orbdens.load("runs/example").predict(label.structure)

    print(f"record {key}: {label.structure.formula}, {store.manifest.level['xc']}")
    grid = label.suited_grid()
    print(f"NMAE {nmae(predicted.on(grid), label.on(grid)):.2f} % on {grid.n_points} points")
    print(f"electrons {label.n_electrons:.4f}, predicted {predicted.n_electrons:.4f}")
    difference = np.linalg.norm(predicted.dipole - label.dipole) / DEBYE
    print(f"dipoles differ by {difference:.3f} Debye")
    above = label.structure.positions[label.structure.numbers == 8] + np.array([0.0, 0.0, 0.7])
    print(f"0.7 Å above oxygen {label.at(above)[0]:.4f}, predicted {predicted.at(above)[0]:.4f} e/Å³")


if __name__ == "__main__":
    main()
