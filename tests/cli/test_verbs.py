"""The command line as users meet it: every verb once, and every mistake as one sentence with status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.vasp import VaspChargeDensity
from ase.io.cube import read_cube_data
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from timing import seconds_of_children

import orbdens as package
from orbdens.cli.main import run
from orbdens.cli.verbs import SiteRule
from orbdens.evaluation.result import Evaluation
from orbdens.formats import WRITERS, read_density
from orbdens.grid import Grid
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.shipped import store_path
from orbdens.sites import SITE_RULES
from orbdens.store import Store

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

LI2O = "3\nLi-O-Li\nO 0 0 0\nLi 1.6 0.3 0\nLi -1.6 0.3 0\n"


def test_help_is_instant(orbdens: CommandLine, tmp_path: Path) -> None:
    begun = seconds_of_children()
    done = orbdens("--help", cwd=tmp_path)
    assert seconds_of_children() - begun < 0.6  # of processor time; 0.2 s where all modules are compiled
    assert "predict" in done.stdout


@pytest.mark.parametrize(
    "verb",
    ["train", "predict", "evaluate", "compare", "demo", "doctor", "floor"]
    + [f"data {verb}" for verb in ("import", "generate", "geometries", "molecules", "distort", "select")]
    + [f"data {verb}" for verb in ("inspect", "split", "subset", "merge", "convert", "verify")],
)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.split(), "--help"], debug=False) == 0
    assert f"Example: orbdens {verb}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], debug=False) == 0
    assert capsys.readouterr().out.strip() == f"orbdens {package.__version__}"


def test_train_leaves_a_whole_run_folder(trained: Path) -> None:
    assert {"model.safetensors", "config.yaml", "metrics.csv"} <= {path.name for path in trained.iterdir()}


def test_predict_writes_a_cube_of_all_electrons(trained: Path, molecule: Path, orbdens: CommandLine) -> None:
    done = orbdens("predict", trained, molecule, "--grid", 0.25, cwd=molecule.parent)
    assert (done.returncode, done.stdout.split()[:4]) == (0, ["molecule.cube", "Li2O", "12.0000", "electrons"])
    assert "expected NMAE" in done.stdout
    values, atoms = read_cube_data(str(molecule.with_suffix(".cube")))
    step = np.asarray(atoms.cell).diagonal() / values.shape / 0.529177210903
    assert values.sum() * step.prod() == pytest.approx(12.0, abs=0.1)


def test_predict_in_other_forms(trained: Path, molecule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = molecule.parent
    two = folder / "two.xyz"
    two.write_text(LI2O + LI2O.replace("1.6", "1.7"))
    np.save(folder / "p.npy", np.zeros((2, 3)))
    model, file = str(trained), str(molecule)

    def predict(*arguments: str) -> None:
        assert run(["predict", model, *arguments], debug=False) == 0, capsys.readouterr().err

    predict(str(two), "--grid", "0.8", "--out", str(folder / "many"))
    assert sorted(path.name for path in (folder / "many").iterdir()) == ["two-1.cube", "two-2.cube"]
    predict(file, "--like", str(folder / "many" / "two-1.cube"), "-o", str(folder / "like.npz"))
    predict(file, "--points", str(folder / "p.npy"), "-o", str(folder / "points.npz"))
    predict(file, "--coefficients", "-o", str(folder))
    with np.load(folder / "like.npz") as like, np.load(folder / "points.npz") as points:
        values, _ = read_cube_data(str(folder / "many" / "two-1.cube"))
        np.testing.assert_allclose(like["density"] * 0.529177210903**3, values, rtol=2e-5, atol=1e-9)
        assert points["density"].shape == (2,)
    with np.load(folder / "molecule.orbitals.npz") as orbitals:
        assert orbitals["site_positions"].shape == (3, 3)
        assert len(orbitals["exponents"]) == len(orbitals["weights"]) == orbitals["primitive_ptr"][-1]
        assert orbitals["expected_errors"].shape == orbitals["novelty"].shape == (3,)
        assert orbitals["bonds"].shape == (len(orbitals["bond_novelty"]), 2)
        density = package.predict(ase.io.read(molecule), trained)
        assert orbitals["expected_error"] == pytest.approx(density.expected_error)
        np.testing.assert_allclose(orbitals["expected_errors"], density.expected_errors)


def test_predict_a_part_of_a_grid(trained: Path, molecule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the points of the whole grid, and with the values that it has there."""
    folder = molecule.parent

    def predict(name: str, *arguments: str) -> tuple[Grid, NDArray[np.floating]]:
        command = ["predict", str(trained), str(molecule), "--grid", "0.3", *arguments, "-o", str(folder / name)]
        assert run(command, debug=False) == 0, capsys.readouterr().err
        return read_density(folder / name)[1:]

    grid, whole = predict("whole.h5")
    for name, arguments, size in (
        ("box.cube", ("--box", "-1,-inf,0.1,2.5,inf,0.9"), (3.5, 99, 0.8)),
        ("around.h5", ("--around", "2,0.7"), (1.4, 1.4, 1.4)),
    ):
        part, values = predict(name, *arguments)
        place = grid.place_of(part)
        assert place is not None
        np.testing.assert_allclose(values, whole[place], rtol=2e-5, atol=1e-6 * whole.max())
        assert np.abs(np.array(part.shape) - np.minimum(np.array(size) / 0.3, grid.shape)).max() <= 1
    assert np.abs(part.points().mean(axis=0) - [1.6, 0.3, 0]).max() < 0.16  # the second atom
    with h5py.File(folder / "around.h5") as file:
        assert file.attrs["n_electrons"] == pytest.approx(12, abs=1e-9)
        assert file.attrs["model"] == trained.name


def test_predict_writes_chgcar(trained: Path, molecule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The box of the cube's grid as cell, its corner at the origin, and in it all electrons."""
    folder = molecule.parent
    for arguments in (["--to", "chgcar", "-o", str(folder)], ["-o", str(folder / "CHGCAR")]):
        assert run(["predict", str(trained), str(molecule), "--grid", "0.25", *arguments], debug=False) == 0
    named, by_name = (VaspChargeDensity(str(folder / name)) for name in ("molecule.CHGCAR", "CHGCAR"))
    np.testing.assert_array_equal(named.chg[0], by_name.chg[0])
    atoms = named.atoms[0]
    assert named.chg[0].mean() * atoms.get_volume() == pytest.approx(12.0, abs=0.1)
    np.testing.assert_allclose(
        atoms.positions - atoms.positions[0], [[0, 0, 0], [1.6, 0.3, 0], [-1.6, 0.3, 0]], atol=1e-8
    )
    assert (np.diag(atoms.cell) > [3.2 + 8 - 0.2, 0.3 + 8 - 0.2, 8 - 0.2]).all()


def test_an_at_sign_is_part_of_a_name(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mol@2.xyz").write_text(LI2O)
    out = ["--grid", "0.8", "-o", str(tmp_path / "out")]
    assert run(["predict", str(trained), str(tmp_path / "mol@2.xyz"), *out], debug=False) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "mol@2.cube").is_file()


def test_evaluate_and_compare(trained: Path, tmp_path: Path, orbdens: CommandLine) -> None:
    arguments = ("lithium-oxide", "--spacing", 0.5, "--json", "first.json", "--name", "first")
    done = orbdens("evaluate", trained, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NMAE [%]" in done.stdout
    assert "Used charge +0, multiplicity 1: 125 structures." in done.stdout
    evaluation = Evaluation.read(tmp_path / "first.json")
    assert len(evaluation.errors.nmae) == 125
    assert max(map(abs, evaluation.errors.electrons)) < 1e-4
    assert "summary" in json.loads((tmp_path / "first.json").read_text())
    second = evaluation.model.model_copy(update={"name": "second"})
    evaluation.model_copy(update={"model": second}).write(tmp_path / "second.json")
    done = orbdens("compare", "first.json", "second.json", "--html", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page


def test_data_inspect(orbdens: CommandLine, tmp_path: Path) -> None:
    done = orbdens("data", "inspect", "lithium-oxide", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "625" in done.stdout


def test_data_import(orbdens: CommandLine, tmp_path: Path) -> None:
    from pyscf import dft, gto

    positions = np.array([[0, 0, 0], [0, 0, 0.74]])
    mf = dft.RKS(gto.M(atom=list(zip("HH", positions, strict=True)), basis="gth-dzvp", pseudo="gth-pbe", verbose=0))
    mf.kernel()
    level = {"basis": "gth-dzvp", "pseudo": "gth-pbe", "density": "valence"}
    units = {"positions": "angstrom", "energy": "hartree", "dipole": "debye"}
    np.savez(
        tmp_path / "h2.npz",
        numbers=np.array([1, 1], dtype=np.int8),
        positions=positions.astype(np.float32),
        atom_ptr=np.array([0, 2]),
        occupied=mf.mo_coeff[:, :1].astype(np.float32).ravel(),
        occupied_ptr=np.array([0, len(mf.mo_coeff)]),
        n_ao=np.array([len(mf.mo_coeff)]),
        n_occ=np.array([1]),
        energy=np.array([mf.e_tot]),
        dipole=np.zeros((1, 3), dtype=np.float32),
        split=np.zeros(1, dtype=np.uint8),
        smiles="[H][H]",
        level=json.dumps({**level, "units": units}),
    )
    done = orbdens("data", "import", "h2.npz", "h2.lmdb", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Store(tmp_path / "h2.lmdb").keys("train") == ["h2-00000"]
    done = orbdens("data", "import", "h2.npz", "h2.lmdb", cwd=tmp_path)
    assert done.returncode == 2


def test_doctor_says_what_works(orbdens: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Tests of the kernels set it, interpreting takes minutes, and Triton keeps what it met first in a process.
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    done = orbdens("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("torch", "numba", "reference", "cpu", "gpu", "works"):
        assert word in done.stdout


def test_the_python_api(trained: Path, molecule: Path) -> None:
    import ase.io

    model = package.load(trained)
    atoms = ase.io.read(molecule)
    density = model.predict(atoms)
    assert density.n_electrons == pytest.approx(12.0, abs=1e-5)
    assert density.at(np.zeros((5, 3))).shape == (5,)
    grid, values = density.on_grid(spacing=0.5, margin=2.0)
    assert values.shape == grid.shape
    assert isinstance(density, package.Density)
    assert len(density.coefficients) > 10
    density.to_cube(molecule.parent / "a.cube", spacing=0.5)
    assert [d.structure.formula for d in model.predict([atoms, atoms])] == ["Li2O", "Li2O"]


@pytest.fixture
def here(tmp_path: Path, trained: Path, make_evaluation: Callable[..., Evaluation]) -> Path:
    """A folder of good and of broken input."""
    frame = "{n}\ncomment\n{atoms}\n"
    (tmp_path / "good.xyz").write_text(LI2O)
    (tmp_path / "two.xyz").write_text(LI2O + LI2O)
    (tmp_path / "gold.xyz").write_text(frame.format(n=2, atoms="Au 0 0 0\nO 0 0 2"))
    (tmp_path / "nan.xyz").write_text(frame.format(n=2, atoms="O 0 0 0\nLi 0 nan 2"))
    (tmp_path / "same.xyz").write_text(frame.format(n=2, atoms="O 0 0 1\nLi 0 0 1.01"))
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "nonsense.xyz").write_text("three\natoms\n")
    (tmp_path / "bare.xyz").write_text(LI2O.replace("Li-O-Li", "charge=12"))
    lattice = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
    (tmp_path / "images.xyz").write_text(f"2\n{lattice}\nLi 0 0 0\nO 3.95 0 0\n")
    (tmp_path / "flat.xyz").write_text('1\npbc="T T T" Properties=species:S:1:pos:R:3\nLi 0 0 0\n')
    (tmp_path / "prose.xyz").write_text(LI2O.replace("Li-O-Li", "Mulliken charge analysis of lithium oxide"))
    (tmp_path / "minus.xyz").write_text(LI2O.replace("Li-O-Li", "charge -1"))
    (tmp_path / "colon.xyz").write_text(LI2O.replace("Li-O-Li", "charge : 0"))
    (tmp_path / "one.xyz").write_text(LI2O.replace("Li-O-Li", "charge=one"))
    (tmp_path / "spinless.xyz").write_text(LI2O.replace("Li-O-Li", "multiplicity=0"))
    (tmp_path / "half-charge.xyz").write_text(LI2O.replace("Li-O-Li", "charge=0.5"))
    (tmp_path / "flat.npy").write_bytes(b"not an array")
    (tmp_path / "good.cube").write_text("exists")
    (tmp_path / "model").symlink_to(trained)
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with safe_open(trained / "model.safetensors", framework="numpy") as file:
        header = {**file.metadata(), "format": "99"}
    save_file(load_file(trained / "model.safetensors"), tmp_path / "future.safetensors", metadata=header)
    shutil.copytree(store_path(), tmp_path / "truncated.store")
    data = tmp_path / "truncated.store" / "data.mdb"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    make_evaluation("a", 1.0).write(tmp_path / "a.json")
    make_evaluation("b", 1.0, spacing=0.1).write(tmp_path / "b.json")
    make_evaluation("c", 1.0, fingerprint="another").write(tmp_path / "c.json")
    (tmp_path / "foreign.json").write_text("{}")
    (tmp_path / "future.json").write_text('{"format": "orbdens evaluation", "format_version": 9}')
    (tmp_path / "pickled.npz").write_bytes(b"\x80\x04N.")
    return tmp_path


MISTAKES = {
    "predict nowhere good.xyz -o x.cube": "there is no model at nowhere",
    "predict text.safetensors good.xyz -o x.cube": "text.safetensors is not a model file",
    "predict foreign.safetensors good.xyz -o x.cube": "foreign.safetensors is .* not a model of orbdens",
    "predict future.safetensors good.xyz -o x.cube": "future.safetensors has format version 99",
    "predict model none.xyz": "there is no file none.xyz",
    "predict model nonsense.xyz": "cannot read structures from nonsense.xyz",
    "predict model empty.xyz": "empty.xyz",
    "predict model gold.xyz": "the model never saw Au; it knows Li, O",
    "predict model bare.xyz": "Li2O with a charge of .12 has no electrons left",
    "predict model images.xyz": "images.xyz: atoms 1 and 2 are on one spot",
    "predict model flat.xyz": "flat.xyz is periodic, but its cell has no volume",
    "predict model good.xyz --grid 0.01 --margin 40 -o x.cube": "x.cube would take .* GB, but the disk has .* GB left",
    "predict model nan.xyz": "nan.xyz: the coordinates of atom 2 are not finite",
    "predict model same.xyz": "same.xyz: atoms 1 and 2 are on one spot",
    "predict model half-charge.xyz": "half-charge.xyz: expected a whole number as charge, but got 0.5",
    "predict model prose.xyz": "prose.xyz: charge has no value: write charge=1 or another whole number",
    "predict model minus.xyz": "minus.xyz: charge has no value",
    "predict model colon.xyz": "colon.xyz: charge has no value",
    "predict model one.xyz": "one.xyz: expected a whole number as charge, but got one",
    "predict model spinless.xyz": "spinless.xyz: expected 1 or more as multiplicity, but got 0",
    "predict nofile": "there is no file nofile, nor a model of that name",
    "predict organics": "expected structure files .FILE.... after the model organics",
    "predict model good.xyz --to xsf -o x.xsf": "densities are written as cube, hdf5, chgcar, npz, but not as 'xsf'",
    "predict model good.xyz --to chgcar -o x.cube": "files of format chgcar are asked for, but --out names x.cube",
    "predict model good.xyz --coefficients -o x.cube": "files of format npz are asked for, but --out names x.cube",
    "predict model good.xyz --coefficients --to cube": "--to and --coefficients exclude each other",
    "predict model good.xyz": "good.cube exists; --force replaces it",
    "predict model good.xyz -o good.xyz/below/x.cube": "cannot write to the folder good.xyz/below",
    "predict model two.xyz -o x.cube": "2 structures need a folder",
    "predict model good.xyz two.xyz good.xyz -o good.xyz": "cannot write to the folder good.xyz",
    "predict model good.xyz --like good.cube -o x.cube": "good.cube ends after line 1, before its second comment",
    "predict model good.xyz --points flat.npy -o x.npz": "flat.npy is not a whole .npy file of numbers",
    "predict model good.xyz -o x.cube --box 0,0,2,1,1,1": "first corner is below its second, but got the box",
    "predict model good.xyz -o x.cube --box 20,0,0,21,1,1": "holds no point of the grid, which reaches from",
    "predict model good.xyz -o x.cube --box 0,0,0,1,1": "expected 6 numbers with commas .* but --box is '0,0,0,1,1'",
    "predict model good.xyz -o x.cube --around 4,1": "Li2O has the atoms 1 to 3, but no atom 4",
    "predict model good.xyz -o x.cube --around 0,1": "but no atom 0",
    "predict model good.xyz -o x.cube --around 1.5,1": "the number of an atom and a radius of 0 Å or more",
    "predict model good.xyz -o x.cube --around 1,-1": "the number of an atom and a radius of 0 Å or more",
    "predict model good.xyz -o x.cube --around Li,2": "expected 2 numbers with commas between them, but --around is",
    "predict model good.xyz -o CHGCAR --around 1,1": "--to chgcar holds a whole cell, and no part of one",
    "predict model good.xyz --around 1,1 --box 0,0,0,1,1,1": "--box and --around exclude each other",
    "predict model good.xyz --around 1,1 --coefficients": "--around and --coefficients exclude each other",
    "predict model good.xyz --grid 0.2 --like good.cube": "--grid and --margin and --like exclude each other",
    "predict model good.xyz --grid -1": "--grid.*0.01",
    "predict model": "FILE",
    "evaluate model nowhere": "nowhere does not exist",
    "evaluate model model": "model is not a store",
    "evaluate model truncated.store": "truncated.store/data.mdb is truncated",
    "evaluate model lithium-oxide --split best": "no split 'best'; its splits: train, test",
    "evaluate model lithium-oxide --json a.json": "a.json exists; --force replaces it",
    "evaluate model lithium-oxide --json a.json/b.json": "cannot write to the folder a.json",
    "train none.yaml": "cannot read the config none.yaml",
    "train good.xyz": "good.xyz",
    "train lithium-oxide.yaml training.minute=3": "unknown option 'training.minute'; did you mean 'training.minutes'",
    "train lithium-oxide.yaml model.layers=two": "option 'model.layers': .*got 'two'",
    "train lithium-oxide.yaml training.seed=4294967296": "option 'training.seed': .*less than 4294967296",
    "train lithium-oxide.yaml training.threads=100000": "option 'training.threads': .*1024",
    "train lithium-oxide.yaml model.cutoff=1e9": "option 'model.cutoff': .*100",
    "train lithium-oxide.yaml model.basis.source=nobasis --out model --force": "PySCF has no basis 'nobasis' for Li",
    "train lithium-oxide.yaml model.basis.source=nobasis --out model/new": "PySCF has no basis 'nobasis' for Li",
    "train lithium-oxide.yaml data.store=nowhere -o run": "nowhere does not exist",
    "train lithium-oxide.yaml data.store=truncated.store -o run": "truncated",
    "train lithium-oxide.yaml data.train_split=best -o run": "no split 'best'",
    "train lithium-oxide.yaml --out model": "model already holds something: .*--force",
    "train lithium-oxide.yaml --out good.xyz/run": "cannot write to the run folder good.xyz/run",
    "train lithium-oxide.yaml --resume --out run": "nothing to resume",
    "compare none.json": "cannot read none.json",
    "compare good.xyz": "good.xyz is not a file of orbdens evaluate --json",
    "compare foreign.json": "foreign.json is not a file of orbdens evaluate --json",
    "compare future.json": "future.json has format version 9",
    "compare a.json b.json": "a.json and b.json cannot be compared: their spacings differ .0.2 Å and 0.1 Å",
    "compare a.json c.json": "their structures differ",
    "compare a.json --html good.cube": "good.cube exists",
    "demo --out model": "model exists; --force replaces it",
    "data import none.npz new.store": "none.npz does not exist",
    "data import pickled.npz new.store": "pickled.npz",
    "data inspect nowhere": "nowhere does not exist",
    "data inspect truncated.store": "truncated",
    "fly": "fly",
    "predict --fast model good.xyz": "--fast",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_end_in_one_sentence(command: str, here: Path, mistake: Callable[[str, Path, str], None]) -> None:
    mistake(command, here, MISTAKES[command])


@pytest.mark.parametrize("command", ["", "data"])
def test_a_group_of_verbs_alone_shows_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command.split(), debug=False) == 0
    output = capsys.readouterr()
    assert "Usage: " in output.out
    assert output.err == ""


@pytest.mark.parametrize(
    ("verb", "choices"),
    [("floor", get_args(SiteRule)), ("predict", tuple(WRITERS)), ("data convert", tuple(WRITERS))],
)
def test_help_lists_the_choices(verb: str, choices: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.split(), "--help"], debug=False) == 0
    assert "|".join(choices) in "".join(capsys.readouterr().out.split())


def test_rules_for_sites_are_those_of_configs() -> None:
    assert get_args(SiteRule) == get_args(OrbitalConfig.model_fields["sites"].annotation) == tuple(SITE_RULES)


def test_debug_shows_the_traceback_wherever_it_stands(orbdens: CommandLine, tmp_path: Path) -> None:
    for arguments in (["--debug", "compare", "none.json"], ["compare", "none.json", "--debug"]):
        done = orbdens(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.rstrip().endswith("orbdens: cannot read none.json: no such file or directory")


def test_a_closed_pipe_is_no_drama(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("orbdens.evaluation.compare.read_evaluations", closed)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert run(["compare", "a.json"], debug=False) == 1
    assert capsys.readouterr().err == ""


def test_bugs_are_told_apart_from_mistakes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("odd\nthing")

    monkeypatch.setattr("orbdens.evaluation.compare.read_evaluations", broken)
    assert run(["compare", "a.json"], debug=False) == 1
    assert capsys.readouterr().err == "orbdens: a bug in orbdens, RuntimeError: odd thing (--debug shows where)\n"


def test_charge_and_multiplicity_are_said_and_doubted(trained: Path, molecule: Path, orbdens: CommandLine) -> None:
    done = orbdens("predict", trained, molecule, "--grid", 0.5, "--charge", 1, cwd=molecule.parent)
    assert "11.0000 electrons" in done.stdout and "charge +1, multiplicity 1" in done.stdout
    assert "11 electrons do not go with multiplicity 1" in done.stderr
    assert "--charge and --multiplicity set them" in done.stderr
    assert "nothing the model learned from had charge +1" in done.stderr
    options = ("--charge", 1, "--multiplicity", 2, "--force")
    done = orbdens("predict", trained, molecule, "--grid", 0.5, *options, cwd=molecule.parent)
    assert "charge +1, multiplicity 2" in done.stdout and "do not go with" not in done.stderr


def test_formal_charges_yield_to_the_option(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = "   -0.8000    0.0000    0.0000 Li  0  0\n    0.8000    0.0000    0.0000 O   0  0\n"
    Path("lio.mol").write_text(f"\n\n\n  2  0  0     0  0            999 V2000\n{atoms}M  CHG  1   2  -1\nM  END\n")
    options = ["predict", str(trained), "lio.mol", "--grid", "0.8", "--force"]
    for given, electrons in ([], 10), (["--charge", "0"], 9), (["--charge", "1"], 8):
        assert run([*options, *given], debug=False) == 0
        assert f"{electrons}.0000 electrons" in capsys.readouterr().out


def test_an_odd_xyz_without_charge_is_doubted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.xyz").write_text("2\n\nLi 0 0 0\nO 0 0 1.7\n")
    assert run(["predict", str(trained), "odd.xyz", "--grid", "0.8"], debug=False) == 0
    warning = capsys.readouterr().err
    assert "9 electrons do not go with multiplicity 1" in warning and "--charge and --multiplicity set them" in warning
    for multiplicity, doubted in (("10", False), ("12", True)):  # nine spins make 10 at most
        options = ["--grid", "0.8", "--force", "--multiplicity", multiplicity]
        assert run(["predict", str(trained), "odd.xyz", *options], debug=False) == 0
        assert ("do not go with" in capsys.readouterr().err) == doubted
