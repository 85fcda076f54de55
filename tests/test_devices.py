"""Where predictions are computed: words for it, what a density does there, and the GPU's path from end to end.

Triton's interpreter runs the kernels of GPUs, and an emulated device refuses what a GPU would.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_gpu import emulated_gpu

import orbdens as package
from orbdens import devices, doctor
from orbdens.cli.main import run
from orbdens.density import OrbitalDensity
from orbdens.devices import PROCESSOR, Device, find_device
from orbdens.errors import UserError
from orbdens.formats.cube import read_cube
from orbdens.grid import Grid
from orbdens.kernels import Shells
from orbdens.kernels.gpu import backend as gpu
from orbdens.models import electron_count
from orbdens.models.orbital import backbone
from orbdens.models.orbital.layers import EdgeParts
from orbdens.models.registry import find, kinds
from orbdens.predicted_store import predict_store
from orbdens.prediction import Request
from orbdens.store import Store
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.1], [0.3, 0.76, -0.5], [0.0, -0.76, -0.6]]))
POINTS = np.random.default_rng(0).normal(size=(30, 3))
INTERPRETER = Device(torch.device("cpu"), "gpu")


def small(**changes: Any) -> OrbitalDensity:
    """A few s, p and d orbitals on the atoms of water."""
    shells = Shells.from_lists([[(2, [0.5], [1.0]), (0, [2.0, 0.6], [0.3, 0.7])], [(1, [0.7], [1.0])]])
    coefficients = torch.from_numpy(np.random.default_rng(1).normal(size=12) + 1)
    density = OrbitalDensity(WATER, WATER.positions, np.array([0, 1, 1]), shells, coefficients, cutoff=6.0)
    return replace(density, **changes)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


def test_words_for_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == find_device(torch.device("cpu")) == PROCESSOR
    assert find_device("interpreter") == INTERPRETER
    for word, sentence in (
        ("cuda", "the device is to be cuda, but torch finds no CUDA GPU here"),
        ("cuda:1", "the device is to be cuda:1, but torch finds no CUDA GPU here"),
        ("mps", "expected auto, cpu, cuda, cuda:N or interpreter as the device, but got 'mps'"),
        ("cuda:", "but got 'cuda:'"),
        ("", "but got ''"),
    ):
        with pytest.raises(UserError) as error:
            find_device(word)
        assert sentence in str(error.value)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated_gpu():
        assert find_device() == find_device("cuda") == find_device("cuda:0") == Device(torch.device("cuda:0"))
        with pytest.raises(UserError, match="torch finds 1 here, from cuda:0 to cuda:0"):
            find_device("cuda:1")
        monkeypatch.setattr(devices, "validate", lambda backend: "Triton is not installed")
        assert find_device("auto") == PROCESSOR
        with pytest.raises(UserError, match="to be cuda, but Triton is not installed"):
            find_device("cuda")


def test_an_interpreter_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "triton" in sys.modules
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UserError, match="set TRITON_INTERPRET=1 at first"):
        find_device("interpreter")


def test_tensors_give_tensors() -> None:
    density = small()
    expected = density.at(POINTS)
    assert close(density.at(np.broadcast_to(POINTS[0], (2, 3))), expected[[0, 0]])  # which nobody may write to
    for dtype in (torch.float32, torch.float64):
        values = density.at(torch.as_tensor(POINTS, dtype=dtype).requires_grad_())
        assert isinstance(values, torch.Tensor)
        assert (values.dtype, values.shape, values.requires_grad) == (torch.float32, (30,), False)
        assert close(values.numpy(), expected)
    assert density.at(torch.zeros(0, 3)).shape == (0,)
    for points, sentence in (
        (torch.zeros(4, 2), "expected points of shape [n_points, 3], but got [4, 2]"),
        (torch.tensor([[0, 0, 0], [0, torch.nan, 0]]), "the coordinates of point 2 of 2 are not finite numbers"),
        (torch.zeros(2, 3, dtype=torch.complex64), "expected points as real numbers"),
    ):
        with pytest.raises(UserError) as error:
            density.at(points)
        assert sentence in str(error.value)


def test_a_density_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values by the Triton kernels, everything else by the processor; no piece of a grid is larger than it may be."""
    monkeypatch.setattr(gpu, "GRID_POINTS", 64)
    sizes = []
    blocks = gpu._blocks
    monkeypatch.setattr(gpu, "_blocks", lambda r, points, ptr: (sizes.append(len(points)), blocks(r, points, ptr))[1])
    here, grid = small(), Grid.around(WATER, 0.9, 1.0)
    crystal = replace(WATER, cell=np.diag([4.0, 4.5, 5.0]) + 0.3, pbc=(True, True, False))
    with emulated_gpu():
        there = here.to(find_device("cuda"))
        assert there.device == torch.device("cuda:0")
        assert close(there.on(grid), here.on(grid))
        assert max(sizes) <= 64 < grid.n_points == sum(sizes)
        values = there.at(torch.as_tensor(POINTS, device="cuda:0"))
        assert values.device == there.device
        assert close(values.cpu().numpy(), here.at(POINTS))
        assert close(there.at(POINTS), here.at(POINTS))
        assert close(there.at(torch.from_numpy(POINTS)).numpy(), here.at(POINTS))
        assert here.at(torch.as_tensor(POINTS, device="cuda:0")).device == there.device
        for found, expected in zip(there.derivatives_at(POINTS[:5]), here.derivatives_at(POINTS[:5]), strict=True):
            assert close(found, expected)
        for found, expected in zip(
            there.second_derivatives_at(POINTS), here.second_derivatives_at(POINTS), strict=True
        ):
            assert close(found, expected)
        assert close(there.coulomb_at(POINTS)[0], here.coulomb_at(POINTS)[0])
        assert (there.n_electrons, there.self_interaction()) == (here.n_electrons, here.self_interaction())
        np.testing.assert_array_equal(there.dipole, here.dipole)
        np.testing.assert_array_equal(there.multipoles(np.ones(3), 2), here.multipoles(np.ones(3), 2))
        np.testing.assert_array_equal(there.suited_grid(0.3).origin, here.suited_grid(0.3).origin)
        periodic = replace(here, structure=crystal)
        assert close(periodic.to(find_device("cuda")).at(3 * POINTS[:9]), periodic.at(3 * POINTS[:9]))


def test_a_mistake_of_devices_is_refused() -> None:
    """The emulated GPU is worth something: what a real one refuses fails on it."""
    with emulated_gpu():
        there = torch.zeros(3, device="cuda:0")
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(3)[there.long()]
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert (there + 1)[torch.tensor([0])].cpu().tolist() == [1.0]


def test_predict_by_the_gpu_s_kernels(trained: Path, tmp_path: Path) -> None:
    """From the command line to the cube: several structures, an ion, one atom alone, and a pair far apart."""
    (tmp_path / "many.xyz").write_text(
        "3\n\nO 0 0 0\nLi 1.6 0.3 0\nLi -1.6 0.3 0\n"
        "2\ncharge=1 multiplicity=1\nO 0 0 0\nLi 1.7 0 0\n"
        "1\n\nO 0 0 0\n"
        "2\n\nO 0 0 0\nLi 0 0 9\n"
    )
    for device in ("cpu", "interpreter"):
        options = f"--grid 1.1 --margin 1 --device {device} --out {tmp_path / device}"
        (tmp_path / device).mkdir()
        assert run(["predict", str(trained), str(tmp_path / "many.xyz"), *options.split()], debug=True) == 0
    cubes = sorted((tmp_path / "cpu").glob("*.cube"))
    assert len(cubes) == 4
    for cube in cubes:
        expected, found = read_cube(cube)[2], read_cube(tmp_path / "interpreter" / cube.name)[2]
        assert np.abs(found - expected).max() <= 1e-5 * min(1, np.abs(expected).max())


def test_a_large_structure_on_a_gpu(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges in parts, sites in parts, and electrons made exact step by step, as for thousands of atoms."""
    places = 1.7 * np.stack(np.unravel_index(np.arange(12), (3, 2, 2)), axis=1)
    cluster = Structure(np.array([8, 3, 3] * 4), places + 0.1 * np.random.default_rng(2).normal(size=(12, 3)))
    expected = package.load(trained, device="cpu").predict(cluster)
    monkeypatch.setattr(backbone, "MEMORY_ELSEWHERE", 40_000)
    monkeypatch.setattr(backbone, "SITES_AT_ONCE", 5)
    monkeypatch.setattr(electron_count, "MOST_DENSE", 4)
    ways = []
    for owner, name in ((EdgeParts, "__iter__"), (electron_count, "_solve_sparse")):
        way = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *of, name=name, way=way: (ways.append(name), way(*of))[1])
    with emulated_gpu():
        found = package.load(trained).predict(cluster)
        assert set(ways) == {"__iter__", "_solve_sparse"}
        assert isinstance(found, OrbitalDensity)
        assert found.device == torch.device("cuda:0")
        assert close(found.coefficients.cpu().numpy(), expected.coefficients.numpy())


def test_mistakes_are_one_sentence(trained: Path, molecule: Path, mistake: Callable[[str, Path, str], None]) -> None:
    folder, kept = molecule.parent, "the reference densities of a store are computed by the CPU"
    mistake(f"predict {trained} molecule.xyz --device tpu", folder, "as the device, but got 'tpu'")
    mistake(f"predict {trained} molecule.xyz --store out.store --device cuda:9", folder, "the device is to be cuda:9")
    mistake(f"evaluate {trained} lithium-oxide --device gpu --json e.json", folder, "as the device, but got 'gpu'")
    mistake("moments --store lithium-oxide --device cuda", folder, kept)
    mistake("compare a.json --device cuda", folder, "--device is for configs and trained models")
    mistake(f"compare {trained} --store lithium-oxide --device cuda:9 --out c", folder, "the device is to be cuda:9")


def test_a_store_is_predicted_on_a_device(trained: Path, molecule: Path, tmp_path: Path) -> None:
    for device in ("cpu", "interpreter"):
        predict_store(Request([molecule], trained, device=device), tmp_path / f"{device}.store")
    one, other = (Store(tmp_path / f"{device}.store")["molecule"] for device in ("cpu", "interpreter"))
    np.testing.assert_allclose(other.coefficients, one.coefficients, atol=1e-6)


def test_too_little_memory_is_told(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = package.load(trained, device="cpu")

    def full(*arguments: Any) -> Any:
        assert not torch.backends.cudnn.allow_tf32  # convolutions keep their digits
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(model), "encode", full)
    with pytest.raises(UserError, match="the memory of cpu is too small for 3 atoms at once"):
        model.predict(Structure(np.array([8, 3, 3]), WATER.positions * 2))
    assert torch.backends.cudnn.allow_tf32


def test_doctor_knows_which_models_the_processor_computes() -> None:
    classes = {kind: find(kind).model_class() for kind in kinds()}  # type: ignore[union-attr]
    assert {kind for kind, one in classes.items() if not one.computes_on_device} == set(doctor.PROCESSOR_KINDS)
    with emulated_gpu():
        table = doctor.placements()
    assert set(table.columns[1].cells) == {"cuda:0"}
    assert set(table.columns[2].cells) == {"kernels: gpu", ""}
