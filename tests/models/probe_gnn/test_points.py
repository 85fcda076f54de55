"""Messages from atoms to points: against the sum that defines them, in crystals, and in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.kernels import solid_harmonics
from orbdens.models.probe_gnn import points as points_module
from orbdens.models.probe_gnn.options import ProbeConfig
from orbdens.models.probe_gnn.points import PointNetwork
from orbdens.structure import Structure

CONFIG = ProbeConfig(channels=4, fields=6, hidden=8, l_max=2, point_cutoff=3.0)
SKEWED = np.array([[4.0, 0.3, 0.0], [1.1, 3.5, 0.2], [0.4, -0.7, 5.0]])
PLACES = np.array([[0.1, 0.2, 0.3], [9.3, 1.4, -6.2], [1.0, 2.0, 1.5]])
MOLECULE = Structure(np.array([8, 1, 1]), PLACES)


@pytest.fixture(scope="module")
def network() -> PointNetwork:
    torch.manual_seed(0)
    return PointNetwork(CONFIG)


@pytest.fixture(scope="module")
def weights(network: PointNetwork) -> Tensor:
    with torch.no_grad():
        return network.spread([torch.randn(3, CONFIG.channels, 2 * l + 1) for l in range(CONFIG.l_max + 1)])


def shifts_of(structure: Structure) -> Iterator[NDArray[np.float64]]:
    """All lattice vectors along which anything could matter."""
    steps = [range(-6, 7) if repeats else range(1) for repeats in structure.pbc]
    for shift in product(*steps):
        yield np.zeros(3) if structure.cell is None else np.array(shift) @ structure.cell


def defined(network: PointNetwork, structure: Structure, points: NDArray[np.float64], weights: Tensor) -> Tensor:
    """Atom by atom and image by image, in double precision."""
    received = torch.zeros(len(points), CONFIG.fields, dtype=torch.float64)
    for atom, place in enumerate(structure.positions):
        for shift in shifts_of(structure):
            vectors = torch.as_tensor(points - place - shift)
            square = (vectors**2).sum(dim=1)
            fade = (1 - square / CONFIG.point_cutoff**2).clamp(min=0) ** 3
            harmonics = solid_harmonics(CONFIG.l_max, vectors)
            radial = torch.exp(-square[:, None] * network.exponents.double())
            functions = (radial[:, :, None] * harmonics[:, None]).flatten(1)
            received += fade[:, None] * (functions @ weights[atom].double())
    gate, value = (received @ network.up.weight.double().T).chunk(2, dim=1)
    mixed = torch.nn.functional.silu(gate) * value
    return (received @ network.linear.weight.double().T + mixed @ network.down.weight.double().T)[:, 0]


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, True), (True, False, True)])
def test_many_points_at_once_are_the_sum_over_atoms(
    network: PointNetwork, weights: Tensor, pbc: tuple[bool, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = Structure(MOLECULE.numbers, PLACES, SKEWED if any(pbc) else None, pbc)
    rng = np.random.default_rng(0)
    points = PLACES[rng.integers(3, size=400)] + 2 * rng.normal(size=(400, 3))
    with torch.no_grad():
        expected = defined(network, structure, points, weights).numpy()
    size = np.abs(expected).max()
    np.testing.assert_allclose(network.at(structure, points, weights), expected, atol=2e-5 * size)
    monkeypatch.setattr(points_module, "NUMBERS", 1000)
    np.testing.assert_allclose(network.at(structure, points, weights), expected, atol=2e-5 * size)


def test_nothing_is_heard_beyond_the_cut_off_and_nothing_jumps_there(network: PointNetwork, weights: Tensor) -> None:
    one = Structure(np.array([8]), np.zeros((1, 3)))
    radii = np.array([0.5, CONFIG.point_cutoff - 1e-2, CONFIG.point_cutoff + 1e-3, 30.0])
    near, edge, beyond, far = network.at(one, radii[:, None] * np.array([0.6, 0.0, 0.8]), weights[:1])
    assert abs(near) > 1e-3
    assert 0 < abs(edge) < 1e-5 * abs(near)
    assert beyond == far == 0


def test_the_start_is_orthonormal(network: PointNetwork) -> None:
    """Integrals over a line of points, l = 1: of two weights of unit size, one field each."""
    r = torch.linspace(0, 9, 4001, dtype=torch.float64)
    to_primitive = network.get_buffer("to_primitive_1").double()
    radial = r[:, None] * torch.exp(-(r[:, None] ** 2) * network.exponents.double()) @ to_primitive
    overlap = torch.einsum("rn,rm,r->nm", radial, radial, r**2) * (r[1] - r[0])
    torch.testing.assert_close(overlap, torch.eye(len(overlap), dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
def test_memory_is_bounded() -> None:
    script = Path(__file__).parent / "memory_script.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
