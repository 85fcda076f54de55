"""The kinetic energy of a particle in a box as a functional of its density, by kernel ridge regression.

Snyder et al., Phys. Rev. Lett. 108, 253002 (2012), one particle: potentials −Σ_i a_i exp(−(x − b_i)² / 2c_i²) of three
dips, a from 1 to 10 Hartree, b from 0.4 to 0.6, c from 0.03 to 0.1, on 500 points of a box of length 1 (atomic units).
They report a mean |error| of 0.15 kcal/mol for 100 training densities. Here the regression is that of `hk_map`.

    python -m benchmarks.box                # 10 draws of training and test densities: a minute
    python -m benchmarks.box --training 40
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.models.kernel_ridge import choose, gaussian
from orbdens.units import KCAL_PER_MOL

POINTS, WAVES, TESTS = 500, 100, 1000
LENGTHS = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
"""Of the kernel, over the median distance of training densities."""
RIDGES = [10.0**power for power in range(-12, -4)]


def ground_states(n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Densities on the points [n, ``POINTS``] and kinetic energies in Hartree [n] of random potentials.

    States are sums of the box's own, √2 sin(kπx), whose integrals over the points are exact.
    """
    x = np.linspace(0, 1, POINTS)
    k = np.arange(1, WAVES + 1)
    waves = np.sqrt(2) * np.sin(np.pi * np.outer(k, x))
    kinetic = (np.pi * k) ** 2 / 2
    densities, energies = np.empty((n, POINTS)), np.empty(n)
    for i in range(n):
        a, b, c = rng.uniform(1, 10, 3), rng.uniform(0.4, 0.6, 3), rng.uniform(0.03, 0.1, 3)
        potential = -(a[:, None] * np.exp(-((x - b[:, None]) ** 2) / (2 * c[:, None] ** 2))).sum(axis=0)
        state = np.linalg.eigh(np.diag(kinetic) + (waves * potential) @ waves.T / (POINTS - 1))[1][:, 0]
        densities[i], energies[i] = (state @ waves) ** 2, state**2 @ kinetic
    return densities, energies


def errors(n_training: int, seed: int) -> NDArray[np.float64]:
    """|Errors| of the kinetic energies of ``TESTS`` densities, kcal/mol."""
    rng = np.random.default_rng(seed)
    training, targets = ground_states(n_training, rng)
    tests, expected = ground_states(TESTS, rng)
    mean = targets.mean()

    def squares(some: NDArray[np.float64]) -> NDArray[np.float64]:
        """∫(n − n')² dx with the training densities."""
        result: NDArray[np.float64] = ((some[:, None] - training) ** 2).mean(axis=2)
        return result

    among = squares(training)
    median = float(np.sqrt(np.median(among[np.triu_indices(n_training, 1)])))
    kernels = {median * part: gaussian(among, median * part) for part in LENGTHS}
    column = (targets - mean)[:, None]
    chosen = choose(kernels, column, RIDGES, lambda found: float(((found - column) ** 2).mean()), seed)
    found = mean + gaussian(squares(tests), chosen.name) @ chosen.dual[:, 0]
    result: NDArray[np.float64] = KCAL_PER_MOL * np.abs(found - expected)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=100, help="training densities of a draw")
    parser.add_argument("--draws", type=int, default=10, help="how often training and test densities are drawn")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    found = np.stack([errors(options.training, seed) for seed in range(options.draws)])
    means = found.mean(axis=1)
    print(f"{options.training} training densities, {TESTS} test densities, {options.draws} draws; kcal/mol")
    print(f"mean |error|: {means.mean():.3f}, of single draws {means.min():.3f} to {means.max():.3f}")
    print(f"largest |error| of a draw: {np.median(found.max(axis=1)):.2f} (median of draws)")
    print("published (Snyder et al. 2012, 100 densities): mean 0.15")
    if options.json is not None:
        figures = {
            "training": options.training,
            "tests": TESTS,
            "mean": means.tolist(),
            "max": found.max(axis=1).tolist(),
        }
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
