"""The overlap metric beside the network it trains: ``python -m benchmarks.metric``.

Checks the metric against its closed form first and refuses to print times if they differ.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from orbdens.kernels import Orbitals, TabulatedMetric, metric_product
from orbdens.machine import describe_machine, describe_versions
from orbdens.models.basis import Basis, make_basis
from orbdens.models.graph import merge
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.objectives import OVERLAP
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.structure import Structure

MOLECULES = 16
# Pentanol: 18 atoms, about 2,000 coefficients; positions of an extended chain, Å.
CHAIN = 5


def alcohol(carbons: int) -> Structure:
    """An extended primary alcohol C_n H_(2n+1) OH with textbook distances."""
    heavy = np.array([[1.26 * i, 0.0, 0.44 * (-1) ** i] for i in range(carbons + 1)])
    numbers, positions = [6] * carbons + [8], list(heavy)
    for i in range(carbons):
        for side in (1, -1):
            positions.append(heavy[i] + [0.0, 0.89 * side, 0.63 * (-1) ** i])
    positions += [heavy[0] + [-0.9, 0.0, -0.63], heavy[-1] + [0.5, 0.0, 0.83 * (-1) ** carbons]]
    return Structure(np.array(numbers + [1] * (2 * carbons + 2)), np.array(positions))


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    molecule = alcohol(CHAIN)
    config = OrbitalConfig()
    basis = make_basis([1, 6, 8], config.basis)
    facts = {"valence_electrons": {"H": 1, "C": 4, "O": 6}, "basis": basis.to_json()}
    model = OrbitalModel(config, facts)
    graph = merge([model.place(molecule, 38.0)[1]] * MOLECULES)
    first, second = np.triu_indices(molecule.n_atoms, 1)
    pairs = torch.cat([torch.tensor(np.stack([first, second])) + i * molecule.n_atoms for i in range(MOLECULES)], dim=1)
    vectors = graph.positions[pairs[1]] - graph.positions[pairs[0]]
    metric = TabulatedMetric(basis.radial_functions, math.sqrt(2) * basis.reach(OVERLAP))
    coefficients = [
        torch.randn(int((graph.site_type == own_type).sum()), size, requires_grad=True)
        for own_type, size in enumerate(basis.sizes)
    ]

    def square() -> torch.Tensor:
        return metric.square(coefficients, graph.site_type, pairs, vectors, graph.structure_of_site, MOLECULES)

    error = _error(basis, molecule, metric, coefficients, graph.site_type, pairs, vectors)
    if error > 1e-4:
        sys.exit(f"the tabulated metric differs from the closed form by {error:.1e}: no times are printed")

    def metric_step() -> None:
        torch.autograd.grad(square().sum(), coefficients)

    def network_step() -> None:
        sum(c.square().sum() for c in model(graph).coefficients).backward()

    figures = {
        "relative_error": error,
        "coefficients_per_molecule": sum(c.numel() for c in coefficients) // MOLECULES,
        "metric_step_s": median_seconds(metric_step, arguments.repeats),
        "network_step_s": median_seconds(network_step, arguments.repeats),
    }
    for name, value in figures.items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")
    if arguments.json:
        machine = describe_machine(arguments.threads) | describe_versions("torch", "numba", "pyscf")
        arguments.json.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")


def _error(
    basis: Basis,
    molecule: Structure,
    metric: TabulatedMetric,
    coefficients: list[torch.Tensor],
    site_type: torch.Tensor,
    pairs: torch.Tensor,
    vectors: torch.Tensor,
) -> float:
    """Relative difference of c S c of the first molecule between tables and closed form."""
    n = molecule.n_atoms
    types = site_type[:n]
    first = [c[: int((types == own_type).sum())] for own_type, c in enumerate(coefficients)]
    inside = (pairs < n).all(dim=0)
    found = metric.square(first, types, pairs[:, inside], vectors[inside], torch.zeros_like(types), 1)[0]
    c = basis.primitives([c.detach().double() for c in first], types)
    orbitals = Orbitals.of_structure(torch.tensor(molecule.positions), types, basis.shells, c[:, None])
    expected = c @ metric_product(orbitals)[:, 0]
    return float((found.detach() - expected).abs() / expected)


if __name__ == "__main__":
    main()
