"""``generate`` makes the same store however it is interrupted and wherever it calculates."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from comparing import assert_same
from pyscf.df.df_jk import get_j
from pyscf.pbc import dft as pbc_dft
from pyscf.pbc import gto as pbc_gto

import data_tools
from data_tools.cli.parsing import parse_splits
from data_tools.generation.calculation import Failure, outcome
from data_tools.generation.convergence import converge
from data_tools.generation.generate import generate
from data_tools.generation.scf import mean_field, molecule
from data_tools.generation.settings import Settings
from data_tools.generation.structures import Structures, hash_of_states
from data_tools.generation.workers import in_processes, on_cluster
from data_tools.stores.splitting import random_splits
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.labels import spin_density
from orbdens.pyscf.bases import named_basis
from orbdens.pyscf.integrals import electron_count
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Record, Store, StoreWriter
from orbdens.store.checks import check_record
from orbdens.structure import Structure
from orbdens.units import BOHR

PLACE = str(Path(data_tools.__file__).parent.parent)
QUICK = Settings(basis="sto-3g", pseudo=None, grid_level=0)
FLAGS = ("--basis", "sto-3g", "--grid-level", "0", "--processes", "2")
WATER = np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]])
N_FRAMES = 16


def assert_same_store(a: Path, b: Path) -> None:
    one, other = Store(a), Store(b)
    assert one.manifest.to_json() == other.manifest.to_json()
    assert one.keys() == other.keys()
    for key in one.keys():  # noqa: SIM118
        assert_same(one[key], other[key])


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distorted waters."""
    path = tmp_path_factory.mktemp("frames") / "water.xyz"
    rng = np.random.default_rng(0)
    ase.io.write(path, [ase.Atoms("OHH", WATER + rng.normal(0, 0.05, (3, 3))) for _ in range(N_FRAMES)])
    return path


@pytest.fixture(scope="module")
def whole(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "store"
    generate(Structures.read([frames]), path, QUICK, splits={"train": 0.75, "test": 0.25}, processes=2)
    return path


def test_store(whole: Path, frames: Path) -> None:
    store = Store(whole)
    manifest = store.manifest
    assert manifest.finished
    assert (manifest.density, manifest.valence_electrons) == ("all-electron", {"H": 1, "O": 8})
    assert {name: len(keys) for name, keys in manifest.splits.items()} == {"train": 12, "test": 4}
    assert manifest.level["method"] == "RKS"
    assert manifest.provenance["files"][0]["name"] == "water.xyz"
    assert manifest.provenance["failed"] == {}
    for key, atoms in zip(store.keys(), ase.io.iread(frames), strict=True):
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        assert manifest.label_basis is not None
        assert record.spins is None
        assert electron_count(record, manifest.label_basis) == pytest.approx(10, abs=1e-5)
        np.testing.assert_array_equal(record.structure.positions, atoms.positions)


def test_open_shell(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "oh.xyz", ase.Atoms("OH", WATER[:2], info={"multiplicity": 2}), format="extxyz")
    generate(Structures.read([tmp_path / "oh.xyz"]), tmp_path / "store", QUICK, processes=1)
    store = Store(tmp_path / "store")
    record, basis = store[store.keys("all")[0]], store.manifest.label_basis
    assert isinstance(record, OrbitalRecord)
    assert basis is not None
    assert store.manifest.level["method"] == "UKS"
    assert record.structure.multiplicity == 2
    assert record.spins is not None
    assert record.spins.tolist() == [1] * 5 + [-1] * 4
    assert record.occupations.tolist() == [1] * 9
    assert electron_count(record, basis) == pytest.approx(9, abs=1e-5)
    spin = spin_density(record, store.manifest)
    assert spin is not None and spin.n_electrons == pytest.approx(1, abs=1e-5)
    for spins, message in ((record.spins[1:], "spins have shape"), (0 * record.spins, "other numbers than 1 and -1")):
        with pytest.raises(UserError, match=message):
            check_record(replace(record, spins=spins), basis)


def test_charge_and_pseudopotential() -> None:
    ion = Structure(np.array([8, 1, 1]), WATER, charge=1, multiplicity=2)
    record = outcome(ion, Settings(basis="gth-szv", grid_level=0, auxbasis="def2-universal-jfit"))
    assert isinstance(record, OrbitalRecord)
    basis, _ = named_basis("HO", "gth-szv", "gth-pbe")
    assert electron_count(record, basis) == pytest.approx(7, abs=1e-5)


def test_crystal_on_its_mesh() -> None:
    cell = np.array([[3.6, 0, 0], [0.2, 3.8, 0], [0, 0.1, 4.0]])
    positions = np.array([[0.0, 0.1, 0.2], [0.0, 0.15, 0.96]])
    settings = Settings(basis="gth-szv", ke_cutoff=60)
    structure = Structure(np.array([1, 1]), positions, cell, (True, True, True), charge=1, multiplicity=2)
    record = outcome(structure, settings)
    assert isinstance(record, GridRecord)
    volume = abs(np.linalg.det(record.steps))
    assert record.spin_values is not None
    assert float(record.values.sum() * volume) == pytest.approx(1, abs=1e-4)
    assert float(record.spin_values.sum() * volume) == pytest.approx(1, abs=1e-4)
    # the same density at some points by another way
    atoms = list(zip("HH", positions, strict=True))
    mol = pbc_gto.M(a=cell, atom=atoms, basis="gth-szv", pseudo="gth-pbe", ke_cutoff=60, charge=1, spin=1, verbose=0)
    mf = pbc_dft.UKS(mol, xc="pbe").run()
    index = np.array([[0, 0, 0], [1, 2, 6], [14, 3, 20], [5, 20, 1]])
    orbitals = mol.pbc_eval_gto("GTOval_sph", index @ record.steps / BOHR)
    expected = ((orbitals @ mf.mo_coeff[0][:, mf.mo_occ[0] > 0]) ** 2).sum(axis=1) / BOHR**3
    np.testing.assert_allclose(record.values[tuple(index.T)], expected, atol=1e-5)


def test_failures_are_left_out_with_their_reason(tmp_path: Path) -> None:
    # a hydrogen molecule converges at once, for it has no choice; water does not
    molecules = [ase.Atoms("HH", [[0, 0, 0], [0, 0, 0.74]]), ase.Atoms("OHH", WATER)]
    ase.io.write(tmp_path / "two.xyz", molecules)
    settings = Settings(basis="sto-3g", pseudo=None, grid_level=0, max_cycle=2)
    made = generate(Structures.read([tmp_path / "two.xyz"]), tmp_path / "store", settings, processes=1)
    store = Store(tmp_path / "store")
    assert made.count == len(store) == 1
    ((key, reason),) = made.failed.items()
    assert key.startswith("000001-H2O-")
    assert "not converged in 2 cycles" in reason
    assert store.manifest.provenance["failed"] == {key: reason}
    assert store.manifest.splits == {"all": [store.keys()[0]]}


def test_hopeless_settings_end_the_run(tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_tools.generation.generate.MAX_FIRST_FAILURES", 3)
    settings = Settings(basis="sto-3g", pseudo=None, grid_level=0, max_cycle=1)
    with pytest.raises(UserError, match=r"none of the first 3 structures could be calculated; 0000.*: not"):
        generate(Structures.read([frames]), tmp_path / "store", settings, processes=1)
    assert not (tmp_path / "store").exists()


def test_what_exists_is_left_alone_if_nothing_can_be_calculated(tmp_path: Path, frames: Path, whole: Path) -> None:
    """Neither the records of a store nor the files of its owner beside them are lost."""
    target = tmp_path / "store"
    shutil.copytree(whole, target)
    (target / "notes.txt").write_text("mine")
    (target / "analysis").mkdir()
    never = replace(QUICK, max_cycle=1, conv_tol=1e-14)
    with pytest.raises(UserError, match="could be calculated"):
        generate(Structures.read([frames]), target, never, processes=2, overwrite=True)
    assert (target / "notes.txt").read_text() == "mine"
    assert (target / "analysis").is_dir()
    assert_same_store(target, whole)
    generate(
        Structures.read([frames]), target, QUICK, splits={"train": 0.75, "test": 0.25}, processes=2, overwrite=True
    )
    assert_same_store(target, whole)
    assert (target / "notes.txt").read_text() == "mine"


def test_resuming_an_empty_store_deletes_nothing(tmp_path: Path, frames: Path) -> None:
    target = tmp_path / "store"
    never = replace(QUICK, max_cycle=1, conv_tol=1e-14)
    source = Structures.read([frames])
    basis, valence = named_basis("HO", never.basis, None)
    provenance = {"files": source.files, "states": hash_of_states(source.structures), "failed": {}}
    StoreWriter(target, Manifest(never.level(source.structures), "all-electron", valence, basis, provenance)).close()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="could be calculated"):
        generate(source, target, never, processes=2, resume=True)
    assert (target / "notes.txt").read_text() == "mine"
    assert len(Store(target)) == 0


def test_a_folder_that_is_no_store_is_not_replaced(tmp_path: Path, frames: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UserError, match="is not a store"):
        generate(Structures.read([frames]), tmp_path / "mine", QUICK, overwrite=True)


def test_integrals_of_a_density_fit_are_kept_where_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a pure functional PySCF would calculate them in every cycle; the energy is the same."""
    settings = Settings(basis="gth-szv", grid_level=0, auxbasis="def2-universal-jfit")
    mol = molecule(Structure(np.array([8, 1, 1]), WATER), settings)
    calls = []
    monkeypatch.setattr("pyscf.df.df_jk.get_j", lambda *given, **named: calls.append(0) or get_j(*given, **named))
    held = mean_field(mol, settings)
    energy = held.kernel()
    assert not calls
    monkeypatch.setattr("data_tools.generation.scf.SHARE_OF_MEMORY", 0.0)
    assert mean_field(mol, settings).kernel() == pytest.approx(energy, abs=1e-8)
    assert len(calls) > 3


def test_second_chances() -> None:
    # stretched, so that the first attempt oscillates
    structure = Structure(np.array([8, 1, 1]), 1.9 * WATER)
    settings = Settings(basis="sto-3g", pseudo=None, grid_level=0, max_cycle=12)
    mf = mean_field(molecule(structure, settings), settings)
    mf.kernel()
    assert not mf.converged
    solved = converge(mean_field(molecule(structure, settings), settings))
    assert solved.converged


def test_another_version_is_refused() -> None:
    answer = outcome(Structure(np.array([1, 1]), WATER[:2]), Settings(code="PySCF 0.1"))
    assert isinstance(answer, Failure)
    assert "the store needs PySCF 0.1" in answer.reason


def _command(frames: Path, store: Path, *more: str) -> list[str]:
    start = "from orbdens.cli import main; main()"
    arguments = ["data", "generate", str(frames), str(store), *FLAGS, "--split", "train=0.75,test=0.25", *more]
    return [sys.executable, "-c", start, *arguments]


def test_kill_and_resume(tmp_path: Path, frames: Path, whole: Path) -> None:
    target = tmp_path / "store"
    environment = {**os.environ, "PYTHONPATH": PLACE}
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2):
        process = subprocess.Popen(
            _command(frames, target, "--resume"), env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < 60:
            if (target / "data.mdb").exists() and len(Store(target)) > held:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        store = Store(target)
        assert len(store) > held
        held = len(store)
        for key in store.keys():  # noqa: SIM118
            assert_same(store[key], Store(whole)[key])
    generate(Structures.read([frames]), target, QUICK, splits={"train": 0.75, "test": 0.25}, processes=2, resume=True)
    assert_same_store(target, whole)
    again = generate(
        Structures.read([frames]), target, QUICK, splits={"train": 0.75, "test": 0.25}, processes=2, resume=True
    )
    assert (again.count, again.failed) == (N_FRAMES, {})
    assert_same_store(target, whole)


def test_cancelling_a_run_ends_its_workers(tmp_path: Path) -> None:
    """A batch system's SIGTERM reaches the main process alone."""
    ase.io.write(tmp_path / "benzenes.xyz", [ase.build.molecule("C6H6")] * 4)
    arguments = f"data generate {tmp_path}/benzenes.xyz {tmp_path}/store --basis def2-tzvp --processes 2"
    command = [sys.executable, "-c", "from orbdens.cli import main; main()", *arguments.split()]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": PLACE}, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        begun = time.monotonic()
        while len(_busy(process.pid) - {process.pid}) < 2 and time.monotonic() - begun < 60:
            time.sleep(0.05)
        assert len(_busy(process.pid) - {process.pid}) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    while _busy(process.pid) and time.monotonic() - begun < 60:
        time.sleep(0.05)
    assert not _busy(process.pid)


def _busy(group: int) -> set[int]:
    """Processes of a group that have worked for more than a second."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *rest = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(its_group) == group and state != "Z" and int(rest[8]) + int(rest[9]) > os.sysconf("SC_CLK_TCK"):
            found.add(int(path.parent.name))
    return found


def test_resume_refuses_another_run(tmp_path: Path, frames: Path, whole: Path) -> None:
    source = Structures.read([frames])
    with pytest.raises(UserError, match="made with grid_level 0, now it is 1"):
        generate(source, whole, Settings(basis="sto-3g", pseudo=None, grid_level=1), resume=True)
    with pytest.raises(UserError, match="other charges or multiplicities"):
        generate(Structures.read([frames], charge=2), whole, QUICK, resume=True)
    ase.io.write(tmp_path / "other.xyz", ase.Atoms("OHH", WATER))
    with pytest.raises(UserError, match="made of structures with other files"):
        generate(Structures.read([tmp_path / "other.xyz"]), whole, QUICK, resume=True)
    with pytest.raises(UserError, match="exists"):
        generate(source, whole, QUICK)


def test_killed_worker_loses_nothing(frames: Path, whole: Path) -> None:
    tasks = Structures.read([frames]).tasks()[:8]
    found: dict[str, Record | Failure] = {}
    for key, result in in_processes(tasks, QUICK, 2):
        if not found:
            pid = multiprocessing.active_children()[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        found[key] = result
    assert found.keys() == {key for key, _ in tasks}
    for key, result in found.items():
        assert_same(result, Store(whole)[key])


def test_cluster(tmp_path: Path, frames: Path, whole: Path) -> None:
    distributed = pytest.importorskip("distributed")
    source = Structures.read([frames])
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        splits = {"train": 0.75, "test": 0.25}
        generate(source, tmp_path / "store", QUICK, splits=splits, scheduler=address)
        assert_same_store(tmp_path / "store", whole)
        results = {}
        tasks = source.tasks()[:8]
        for key, result in on_cluster(tasks, QUICK, address):
            if not results:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            results[key] = result
    assert results.keys() == {key for key, _ in tasks}
    for key, result in results.items():
        assert_same(result, Store(whole)[key])


def test_no_cluster(tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'orbdens\[cluster\]'"):
        generate(Structures.read([frames]), tmp_path / "store", QUICK, scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--multiplicity", "2"], "H2O has 10 electrons, which a multiplicity of 2 does not allow"),
        (["--charge", "10"], "H2O of charge 10 has 0 electrons"),
        (["--xc", "nonsense"], "PySCF has no functional 'nonsense'"),
        (["--basis", "nonsense"], "PySCF has no basis 'nonsense'"),
        (["--split", "train=0.8"], "add up to 0.8 instead of 1"),
        (["--split", "train"], "expected splits such as train=0.8,test=0.2"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, frames: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "generate", str(frames), str(tmp_path / "store"), *FLAGS[:-2], *flags], debug=False) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_crystals_need_pseudopotentials(tmp_path: Path) -> None:
    hydrogen = ase.Atoms("HH", [[0, 0, 0], [0, 0, 0.74]], cell=[4, 4, 4], pbc=True)
    ase.io.write(tmp_path / "cell.xyz", hydrogen)
    with pytest.raises(UserError, match="crystals need a pseudopotential"):
        generate(Structures.read([tmp_path / "cell.xyz"]), tmp_path / "store", QUICK)
    hydrogen.pbc = (True, True, False)
    ase.io.write(tmp_path / "slab.xyz", hydrogen)
    with pytest.raises(UserError, match="repeats along 2 of its cell vectors"):
        generate(Structures.read([tmp_path / "slab.xyz"]), tmp_path / "store", Settings())
    ase.io.write(tmp_path / "molecule.xyz", ase.Atoms("OHH", WATER))
    with pytest.raises(UserError, match="molecules and crystals"):
        Structures.read([tmp_path / "cell.xyz", tmp_path / "molecule.xyz"])


def test_splits() -> None:
    keys = [f"{i:02d}" for i in range(11)]
    splits = random_splits(keys, parse_splits("train=0.7, val=0.1,test=0.2"), 3)
    assert [len(part) for part in splits.values()] == [8, 1, 2]
    assert sorted(key for part in splits.values() for key in part) == keys
    assert splits == random_splits(keys, parse_splits("train=0.7,val=0.1,test=0.2"), 3)
    assert json.loads(json.dumps(splits)) == splits
