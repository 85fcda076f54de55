"""Large structures: gone through in parts, with time and memory that go with the number of atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from water import box

import orbdens
from orbdens.models import electron_count
from orbdens.models.electron_count import equilibrium
from orbdens.models.graph import Graph
from orbdens.models.orbital import backbone
from orbdens.models.orbital.layers import Edges
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.options import OrbitalConfig


def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on edges, sites and equations are those of a far larger structure."""
    monkeypatch.setattr(backbone, "MEMORY", {"cpu": 20_000_000})
    monkeypatch.setattr(backbone, "SITES_AT_ONCE", 70)
    monkeypatch.setattr(electron_count, "MOST_DENSE", 10)


def all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on everything is done at once, whatever it takes."""
    monkeypatch.setattr(backbone, "MEMORY", {"cpu": 10**12})
    monkeypatch.setattr(backbone, "SITES_AT_ONCE", 10**6)
    monkeypatch.setattr(electron_count, "MOST_DENSE", 10**6)


@pytest.mark.parametrize(("n_atoms", "periodic"), [(300, False), (120, True)])
def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, n_atoms: int, periodic: bool) -> None:
    model, structure = orbdens.load(), box(n_atoms, periodic)
    all_at_once(monkeypatch)
    whole: Any = model.predict(structure)
    in_small_parts(monkeypatch)
    parts: Any = model.predict(structure)
    places = np.random.default_rng(0).uniform(0, 12, (2000, 3))
    assert float((parts.coefficients - whole.coefficients).abs().max()) < 2e-6
    assert np.abs(parts.at(places) - whole.at(places)).max() < 1e-6 * whole.at(places).max()  # single precision
    assert parts.expected_errors == pytest.approx(whole.expected_errors, rel=1e-4)
    assert parts.n_electrons == pytest.approx(n_atoms / 3 * 8, abs=1e-9)


@pytest.mark.parametrize("convolution", ["so2", "tensor-product"])
def test_no_part_is_larger_than_the_budget(monkeypatch: pytest.MonkeyPatch, convolution: str) -> None:
    exponents = {"H": [[0.6, 2.0], [1.0]], "O": [[0.6, 2.5], [1.2]], "bond": [[1.0], [1.0]]}
    torch.manual_seed(0)
    options = {"sites": "bonds", "channels": 8, "layers": 2, "l_max": 2, "convolution": convolution}
    config = OrbitalConfig.model_validate(options | {"basis": {"l_max": 1, "virtual": {"l_max": 1}}})
    model = OrbitalModel(config, {"valence_electrons": {"H": 1, "O": 6}, "basis": exponents}).eval()
    sizes = []
    make = backbone.Backbone._edges

    def spy(self: backbone.Backbone, types: torch.Tensor, index: torch.Tensor, vector: torch.Tensor) -> Edges:
        sizes.append(len(vector))
        return make(self, types, index, vector)

    monkeypatch.setattr(backbone.Backbone, "_edges", spy)
    all_at_once(monkeypatch)
    whole: Any = model.predict(box(60, periodic=False))
    assert len(sizes) == 1
    monkeypatch.setattr(backbone, "MEMORY", {"cpu": 400_000})
    parts: Any = model.predict(box(60, periodic=False))
    n_edges, *part_sizes = sizes
    assert max(part_sizes) * 4 * 9 * (2 * 9 + 8 * 8) <= 400_000
    assert len(part_sizes) > 3 and sum(part_sizes) > 2 * n_edges  # once for each layer that needs them, and the seeds
    assert float((parts.coefficients - whole.coefficients).abs().max()) < 2e-6


def test_large_equations_have_the_solution_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chains of sites in two structures; one site has faded out and yields nothing."""
    rng = np.random.default_rng(0)
    n, links = 60, np.array([[i, i + 1] for i in range(59) if i not in (19, 39)])
    both = np.concatenate([links, links[:, ::-1]])
    structure = torch.tensor([0] * 40 + [1] * 20)
    weight = torch.ones(n)
    weight[30] = 0
    graph = Graph(
        site_type=torch.zeros(n, dtype=torch.int64),
        site_weight=weight,
        positions=torch.zeros(n, 3),
        edge_index=torch.as_tensor(both.T),
        edge_vector=torch.as_tensor(rng.uniform(0.5, 1.5, (len(both), 3))).float(),
        state=torch.zeros(n, 2),
        charge_share=torch.as_tensor(rng.normal(size=n)) / 10,
        n_electrons=torch.zeros(2, dtype=torch.float64),
        structure_of_site=structure,
        site_ptr=torch.tensor([0, 40, 60]),
    )
    yields = torch.as_tensor(rng.uniform(1e-3, 0.1, n)) * weight
    counts, neutral = torch.as_tensor(rng.normal(size=n)), torch.zeros(n, dtype=torch.float64)
    counts[30] = graph.charge_share[30] = 0
    expected = equilibrium(counts, yields, neutral, graph, 6.0)
    monkeypatch.setattr(electron_count, "MOST_DENSE", 10)
    with torch.no_grad():
        found = equilibrium(counts, yields, neutral, graph, 6.0)
    assert torch.allclose(found * yields, expected * yields, rtol=0, atol=1e-9)
    left = found * yields.clamp(min=electron_count.SMALL) + counts + graph.charge_share
    assert float(left.sum()) == pytest.approx(0, abs=1e-9)
