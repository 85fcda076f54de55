"""Overlaps without a grid, against PySCF."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from e3nn import o3
from kernels.systems import molecule_of_sites, pyscf_columns

from orbdens.kernels import (
    Orbitals,
    Shells,
    TabulatedMetric,
    edge_rotations,
    metric_product,
    normalisation,
    split_by_degree,
)
from orbdens.units import BOHR

Metric = Literal["overlap", "coulomb"]
INTEGRAL = {"overlap": ("int1e_ovlp", 1.0), "coulomb": ("int2c2e", BOHR**2)}
"""PySCF's name of each metric, and its unit in ours."""


def _harmonics(l: int, vectors: torch.Tensor) -> torch.Tensor:
    return o3.spherical_harmonics(l, vectors[:, [1, 2, 0]], True, normalization="integral")


def test_rotations_turn_edges_to_the_pole() -> None:
    """A rotated harmonic is the harmonic of the rotated vector; the edge itself ends on +z, poles included."""
    vectors = torch.randn(9, 3, dtype=torch.float64)
    vectors[0] = torch.tensor([0.0, 0.0, 2.0])
    vectors[1] = torch.tensor([0.0, 0.0, -0.5])
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    for l, rotation in enumerate(edge_rotations(vectors, 6)):
        turned = torch.einsum("eij,ej->ei", rotation, _harmonics(l, vectors))
        torch.testing.assert_close(turned, _harmonics(l, pole).expand_as(turned), atol=1e-12, rtol=0)
        unit = rotation @ rotation.transpose(1, 2)
        torch.testing.assert_close(unit, torch.eye(2 * l + 1, dtype=torch.float64).expand_as(unit), atol=1e-12, rtol=0)


def _radial_functions(exponents: list[list[float]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Exponents of l = 0, 1, ... with random combinations of their primitives, one fewer where there are many."""
    return [
        (
            torch.tensor(own, dtype=torch.float64),
            torch.randn(
                len(own), max(1, len(own) - 1), dtype=torch.float64, generator=torch.Generator().manual_seed(l)
            ),
        )
        for l, own in enumerate(exponents)
    ]


@pytest.mark.parametrize("metric", ["overlap", "coulomb"])
def test_squared_norm_equals_pyscf(metric: Metric) -> None:
    """c S c of a batch of two ragged structures with two types, against PySCF's overlap matrix."""
    exponents = [
        [[0.4, 1.0, 2.5], [0.6, 1.5]],
        [[0.3, 0.8, 2.0, 9.0], [0.5, 1.2], [0.7], [0.9], [1.1, 2.2]],
    ]
    radials = [_radial_functions(of_type) for of_type in exponents]
    tabulated = TabulatedMetric(radials, 12.0, metric)
    rng = np.random.default_rng(0)
    structures = [
        (np.array([1, 0, 0]), rng.normal(size=(3, 3)) * 1.2),
        (np.array([0, 1, 1, 0]), rng.normal(size=(4, 3)) * 1.5),
    ]
    integral, unit = INTEGRAL[metric]
    expected, types, pairs, vectors, owner = [], [], [], [], []
    per_type: list[list[np.ndarray]] = [[], []]
    offset = 0
    for index, (site_type, positions) in enumerate(structures):
        shells = [[(l, [a], [1.0]) for l, own in enumerate(exponents[t]) for a in own] for t in site_type]
        molecule = molecule_of_sites(positions, shells)
        columns = pyscf_columns(molecule)
        of_sites = [
            torch.block_diag(*(torch.kron(to, torch.eye(2 * l + 1)) for l, (_, to) in enumerate(radials[t])))
            for t in site_type
        ]
        transform = torch.block_diag(*of_sites).numpy()
        matrix = transform.T @ (molecule.intor(integral)[np.ix_(columns, columns)] * unit) @ transform
        c = rng.normal(size=len(matrix))
        expected.append(c @ matrix @ c)
        ends = np.cumsum([to.shape[1] for to in of_sites])
        for t, part in zip(site_type, np.split(c, ends[:-1]), strict=True):
            per_type[t].append(part)
        first, second = np.triu_indices(len(site_type), 1)
        pairs.append(np.stack([first, second]) + offset)
        vectors.append(positions[second] - positions[first])
        owner += [index] * len(site_type)
        types.append(site_type)
        offset += len(site_type)
    found = tabulated.square(
        [torch.tensor(np.array(c), dtype=torch.float32) for c in per_type],
        torch.tensor(np.concatenate(types)),
        torch.tensor(np.concatenate(pairs, axis=1)),
        torch.tensor(np.concatenate(vectors), dtype=torch.float32),
        torch.tensor(owner),
        2,
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize("metric", ["overlap", "coulomb"])
def test_product_equals_pyscf_and_its_gradients_finite_differences(metric: Metric) -> None:
    """S c of two ragged structures, contracted shells in any order of l, an edge along the polar axis."""
    shells = Shells.from_lists(
        [
            [(1, [0.9], [1.0]), (0, [0.4, 2.0], [0.7, 0.5]), (0, [1.1], [1.0])],
            [(0, [0.6], [1.0]), (2, [0.8, 1.9], [0.3, 0.9]), (1, [1.3], [1.0])],
        ]
    )
    integral, unit = INTEGRAL[metric]
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 1.2], [0.9, -0.4, 0.3], [0.2, 0.1, 0.0], [1.0, 1.0, 0.4]]).double()
    site_type, site_ptr = torch.tensor([0, 1, 1, 1, 0]), torch.tensor([0, 3, 5])
    c = torch.randn(shells.n_coefficients(site_type), 2, dtype=torch.float64)

    def product(*leaves: torch.Tensor) -> torch.Tensor:
        where, exponents, weights, coefficients = leaves
        table = shells.with_radial(exponents, weights)
        return metric_product(Orbitals(where, site_type, site_ptr, table, coefficients), metric)

    leaves = [positions, shells.exponents, shells.weights, c]
    found = product(*leaves)
    assert torch.autograd.gradcheck(lambda *x: (product(*x) * c).sum(), [leaf.requires_grad_() for leaf in leaves])
    expected = []
    start = 0
    for begin, end in ((0, 3), (3, 5)):
        site_shells = []
        rows, factors = [], []
        for site in range(begin, end):
            t = int(site_type[site])
            own = []
            for s in range(int(shells.shell_ptr[t]), int(shells.shell_ptr[t + 1])):
                l = int(shells.shell_l[s])
                p = slice(int(shells.primitive_ptr[s]), int(shells.primitive_ptr[s + 1]))
                e, w = (
                    shells.exponents[p].detach(),
                    shells.weights[p].detach() / normalisation(l, shells.exponents[p].detach()),
                )
                own.append((l, e.tolist(), w.tolist()))
                norm = ((2 * (e[:, None] * e).sqrt() / (e[:, None] + e)) ** (l + 1.5) * w[:, None] * w).sum().sqrt()
                rows.append((site, l, len(rows)))
                factors += [float(norm)] * (2 * l + 1)
            site_shells.append(own)
        molecule = molecule_of_sites(positions[begin:end].detach().numpy(), site_shells)
        # PySCF sorts the shells of a site by l; follow it back to ours.
        order = sorted(rows, key=lambda row: (row[0], row[1], row[2]))
        offset = np.cumsum([0, *(2 * l + 1 for _, l, _ in rows)])
        ours = np.concatenate([np.arange(offset[i], offset[i + 1]) for _, _, i in order])
        n = offset[-1]
        matrix = np.zeros((n, n))
        columns = pyscf_columns(molecule)
        matrix[np.ix_(ours, ours)] = molecule.intor(integral)[np.ix_(columns, columns)] * unit
        matrix *= np.outer(factors, factors)
        expected.append(matrix @ c[start : start + n].detach().numpy())
        start += n
    np.testing.assert_allclose(found.detach().numpy(), np.concatenate(expected), rtol=1e-9, atol=1e-10)


def test_the_metric_takes_no_crystals_and_no_scalings() -> None:
    shells = Shells.from_lists([[(0, [1.0], [1.0])]])
    one = (torch.zeros(1, 3).double(), torch.tensor([0]), shells, torch.ones(1, 1).double())
    for options in ({"cell": torch.eye(3), "pbc": (True, True, True)}, {"scalings": torch.ones(1).double()}):
        with pytest.raises(ValueError, match="none with cells or scalings"):
            metric_product(Orbitals.of_structure(*one, **options))  # type: ignore[arg-type]


def test_split_by_degree_follows_the_layout() -> None:
    """Two radial functions of l = 0, one of l = 1."""
    s, p = split_by_degree(torch.arange(10.0).reshape(2, 5), [2, 1])
    assert s.tolist() == [[[0], [1]], [[5], [6]]]
    assert p.tolist() == [[[2, 3, 4]], [[7, 8, 9]]]
