"""The particle in a box whose kinetic energy is learned."""

from __future__ import annotations

import numpy as np

from benchmarks.box import POINTS, errors, ground_states


def test_ground_states_are_normalised_and_above_the_empty_box() -> None:
    densities, energies = ground_states(4, np.random.default_rng(0))
    assert np.allclose(densities.sum(axis=1) / (POINTS - 1), 1)
    assert (energies > np.pi**2 / 2).all()
    # ½∫ψ'² of ψ = √n by finite differences is another way to the same energy.
    slopes = np.gradient(np.sqrt(densities), 1 / (POINTS - 1), axis=1, edge_order=2)
    assert np.allclose(np.trapezoid(slopes**2, axis=1) / (POINTS - 1) / 2, energies, rtol=1e-3)


def test_the_functional_is_learned() -> None:
    assert errors(30, seed=0).mean() < 20 < errors(4, seed=0).mean()
