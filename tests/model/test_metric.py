"""Overlaps without a grid, against PySCF."""

from __future__ import annotations

import numpy as np
import torch
from e3nn import o3
from pyscf import gto

from orbdens.kernels.metric import OverlapMetric
from orbdens.kernels.wigner import edge_rotations
from orbdens.model.basis import Basis
from orbdens.model.projection import _molecule, _our_row, _transform

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


def test_squared_norm_equals_pyscf() -> None:
    """c S c of a batch of two ragged structures with two types, against PySCF's overlap matrix."""
    basis = Basis.from_json(
        {
            "H": [[0.4, 1.0, 2.5], [0.6, 1.5]],
            "O": [[0.3, 0.8, 2.0, 9.0], [0.5, 1.2], [0.7], [0.9], [1.1, 2.2]],
        }
    )
    metric = OverlapMetric(
        [[(torch.tensor(r.exponents), torch.tensor(r.to_primitive)) for r in radials] for radials in basis.radials],
        12.0,
    )
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
            positions, [[(r.l, [(e, 1.0)]) for r in basis.radials[kind] for e in r.exponents] for kind in kinds]
        )
        rows = _our_row(molecule).argsort()
        transform = _transform(basis, kinds)
        overlap = transform.T @ molecule.intor("int1e_ovlp")[np.ix_(rows, rows)] @ transform
        c = rng.normal(size=len(overlap))
        expected.append(c @ overlap @ c)
        start = 0
        for kind in kinds:
            per_type[kind].append(c[start : start + basis.sizes[kind]])
            start += basis.sizes[kind]
        first, second = np.triu_indices(len(numbers), 1)
        pairs.append(np.stack([first, second]) + offset)
        vectors.append(positions[second] - positions[first])
        owner += [index] * len(numbers)
        kinds_all.append(kinds)
        offset += len(numbers)
    found = metric(
        [torch.tensor(np.array(c), dtype=torch.float32) for c in per_type],
        torch.tensor(np.concatenate(kinds_all)),
        torch.tensor(np.concatenate(pairs, axis=1)),
        torch.tensor(np.concatenate(vectors), dtype=torch.float32),
        torch.tensor(owner),
        2,
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5)


def test_projection_molecule_keeps_order() -> None:
    """PySCF's p functions come as x, y, z; ours as y, z, x."""
    molecule = gto.M(atom="He 0 0 0", basis={"He": [[0, [1.0, 1]], [1, [1.0, 1]]]}, verbose=0)
    assert _our_row(molecule).tolist() == [0, 3, 1, 2]
