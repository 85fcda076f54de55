"""Overlaps without a grid, against PySCF."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from pyscf import gto

from orbdens.kernels import Shells, normalisation
from orbdens.kernels.pairs.metric import TabulatedMetric, metric_product
from orbdens.kernels.pairs.wigner import edge_rotations
from orbdens.models.orbital.basis import Basis
from orbdens.models.orbital.density_fitting import _molecule, _our_row, _transform
from orbdens.units import BOHR

L_MAX = 4


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


@pytest.mark.parametrize("kind", ["overlap", "coulomb"])
def test_squared_norm_equals_pyscf(kind: str) -> None:
    """c S c of a batch of two ragged structures with two types, against PySCF's overlap matrix."""
    basis = Basis.from_json(
        {
            "H": [[0.4, 1.0, 2.5], [0.6, 1.5]],
            "O": [[0.3, 0.8, 2.0, 9.0], [0.5, 1.2], [0.7], [0.9], [1.1, 2.2]],
        }
    )
    radials = [[(torch.tensor(r.exponents), torch.tensor(r.to_primitive)) for r in one] for one in basis.radials]
    metric = TabulatedMetric(radials, 12.0, kind)
    rng = np.random.default_rng(0)
    structures = [
        (np.array([8, 1, 1]), rng.normal(size=(3, 3)) * 1.2),
        (np.array([1, 8, 8, 1]), rng.normal(size=(4, 3)) * 1.5),
    ]
    expected, kinds_all, pairs, vectors, owner = [], [], [], [], []
    per_type: list[list[np.ndarray]] = [[], []]
    offset = 0
    for index, (numbers, positions) in enumerate(structures):
        kinds = basis.index(numbers)
        molecule = _molecule(
            positions, [[(r.l, [(e, 1.0)]) for r in basis.radials[t] for e in r.exponents] for t in kinds]
        )
        rows = _our_row(molecule).argsort()
        transform, _ = _transform(basis, kinds, np.ones(len(kinds)))
        integrals = molecule.intor("int1e_ovlp") if kind == "overlap" else molecule.intor("int2c2e") * BOHR**2
        overlap = transform.T @ integrals[np.ix_(rows, rows)] @ transform
        c = rng.normal(size=len(overlap))
        expected.append(c @ overlap @ c)
        start = 0
        for t in kinds:
            per_type[t].append(c[start : start + basis.sizes[t]])
            start += basis.sizes[t]
        first, second = np.triu_indices(len(numbers), 1)
        pairs.append(np.stack([first, second]) + offset)
        vectors.append(positions[second] - positions[first])
        owner += [index] * len(numbers)
        kinds_all.append(kinds)
        offset += len(numbers)
    found = metric.square(
        [torch.tensor(np.array(c), dtype=torch.float32) for c in per_type],
        torch.tensor(np.concatenate(kinds_all)),
        torch.tensor(np.concatenate(pairs, axis=1)),
        torch.tensor(np.concatenate(vectors), dtype=torch.float32),
        torch.tensor(owner),
        2,
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize(
    ("kind", "integral", "unit"), [("overlap", "int1e_ovlp", 1.0), ("coulomb", "int2c2e", BOHR**2)]
)
def test_product_equals_pyscf_and_its_gradients_finite_differences(kind: str, integral: str, unit: float) -> None:
    """S c of two ragged structures, contracted shells in any order of l, an edge along the polar axis."""
    shells = Shells.from_lists(
        [
            [(1, [0.9], [1.0]), (0, [0.4, 2.0], [0.7, 0.5]), (0, [1.1], [1.0])],
            [(0, [0.6], [1.0]), (2, [0.8, 1.9], [0.3, 0.9]), (1, [1.3], [1.0])],
        ]
    )
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 1.2], [0.9, -0.4, 0.3], [0.2, 0.1, 0.0], [1.0, 1.0, 0.4]]).double()
    site_type, site_ptr = torch.tensor([0, 1, 1, 1, 0]), torch.tensor([0, 3, 5])
    c = torch.randn(shells.n_coefficients(site_type), dtype=torch.float64)

    def product(*leaves: torch.Tensor) -> torch.Tensor:
        where, exponents, weights, coefficients = leaves
        table = shells.with_radial(exponents, weights)
        return metric_product(where, site_type, site_ptr, table, coefficients, kind=kind)

    leaves = [positions, shells.exponents, shells.weights, c]
    found = product(*leaves)
    assert torch.autograd.gradcheck(lambda *x: product(*x) @ c, [leaf.requires_grad_() for leaf in leaves])
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
                own.append((l, list(zip(e.tolist(), w.tolist(), strict=True))))
                norm = ((2 * (e[:, None] * e).sqrt() / (e[:, None] + e)) ** (l + 1.5) * w[:, None] * w).sum().sqrt()
                rows.append((site, l, len(rows)))
                factors += [float(norm)] * (2 * l + 1)
            site_shells.append(own)
        molecule = _molecule(positions[begin:end].detach().numpy(), site_shells)
        # PySCF sorts the shells of a site by l; follow it back to ours.
        order = sorted(rows, key=lambda row: (row[0], row[1], row[2]))
        offset = np.cumsum([0, *(2 * l + 1 for _, l, _ in rows)])
        ours = np.concatenate([np.arange(offset[i], offset[i + 1]) for _, _, i in order])
        n = offset[-1]
        matrix = np.zeros((n, n))
        theirs = molecule.intor(integral)[np.ix_(_our_row(molecule).argsort(), _our_row(molecule).argsort())]
        matrix[np.ix_(ours, ours)] = theirs * unit
        matrix *= np.outer(factors, factors)
        expected.append(matrix @ c[start : start + n].detach().numpy())
        start += n
    np.testing.assert_allclose(found.detach().numpy(), np.concatenate(expected), rtol=1e-9, atol=1e-10)


def test_projection_molecule_keeps_order() -> None:
    """PySCF's p functions come as x, y, z; ours as y, z, x."""
    molecule = gto.M(atom="He 0 0 0", basis={"He": [[0, [1.0, 1]], [1, [1.0, 1]]]}, verbose=0)
    assert _our_row(molecule).tolist() == [0, 3, 1, 2]
