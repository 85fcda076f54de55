"""Training: resumed runs equal uninterrupted ones bit for bit, trained models are good starts, and a run folder holds
what it should."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import places
import pytest
import torch
from safetensors.torch import load_file

from orbdens.checkpoint import build_model, load_model, read_header, save_model
from orbdens.config import Config, parse_config
from orbdens.errors import UserError
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.registry import find
from orbdens.models.task import GradientTask, TrainingData
from orbdens.progress import silent
from orbdens.store import Store, StoreWriter, open_store
from orbdens.training.batches import EndlessBatches, Examples, splits_of
from orbdens.training.run import train
from orbdens.training.schedule import Schedule
from orbdens.training.validation import errors

SMALL: dict[str, dict[str, Any]] = {
    "orbital": {"kind": "orbital", "channels": 8, "layers": 1, "l_max": 2, "basis": {"beta": 3.0, "l_max": 2}},
    "unet3d": {"kind": "unet3d", "features": 2, "depth": 1, "spacing": 0.8, "margin": 2.0},
}
OBJECTIVES: dict[str, dict[str, Any]] = {"orbital": {}, "unet3d": {"dropout": 0.2}}


FROZEN = {"orbital": ["backbone", "head.scalar.0"], "unet3d": ["network.mixing", "network.encoders.0", "network.up"]}
"""Parts that fine-tuning holds."""

GOLDEN = places.GOLDEN / "ethanol"


def _config(kind: str, steps: int, **changes: Any) -> Config:
    """Of a small run; ``changes`` to the training, and to the other sections as mappings."""
    model, data_changes = changes.pop("model", {}), changes.pop("data", {})
    objective = {**OBJECTIVES[kind], **changes.pop("objective", {})}
    training = {
        "steps": steps,
        "batch_size": 3,
        "validate_every": 5,
        "checkpoint_every": 10,
        "validation_spacing": 0.8,
        "warmup_steps": 3,
        "threads": 1,
        "device": "cpu",
        **changes,
    }
    data = {"store": "lithium-oxide", "n_train": 10, "n_validation": 2, **data_changes}
    sections = {"data": data, "model": {**SMALL[kind], **model}, "objective": objective, "training": training}
    return parse_config(sections, "the test")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trained models of both kinds."""
    folder = tmp_path_factory.mktemp("bases")
    return {kind: train(_config(kind, 10), folder / kind) for kind in SMALL}


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_resumed_run_is_the_uninterrupted_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(_config(kind, 20), tmp_path / "whole")
    _stop_after(monkeypatch, 10)
    with pytest.raises(KeyboardInterrupt):
        train(_config(kind, 20), tmp_path / "parts")
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    monkeypatch.undo()
    train(_config(kind, 20), tmp_path / "parts", resume=True)
    _assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_cancelled_run_saves_its_state_also_while_it_validates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch system's SIGTERM is no success, whatever Lightning makes of it."""
    train(_config("unet3d", 12), tmp_path / "whole")

    def cancelled(*arguments: Any) -> list[float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return errors(*arguments)

    monkeypatch.setattr("orbdens.training.gradient_run.errors", cancelled)
    with pytest.raises(KeyboardInterrupt):
        train(_config("unet3d", 12), tmp_path / "parts")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train(_config("unet3d", 12), tmp_path / "parts", resume=True)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_interrupt_ends_a_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(*arguments: Any) -> list[float]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one did nothing")

    monkeypatch.setattr("orbdens.training.gradient_run.errors", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(_config("unet3d", 12), tmp_path)


def test_a_thread_may_train(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(train, _config("unet3d", 2), tmp_path).result()
    assert (out / "model.safetensors").is_file()


def _task(config: Config, data: TrainingData, model: Any) -> GradientTask[Any]:
    """What goes on from a trained model."""
    registration = find(config.model.kind)
    assert registration is not None
    task_class = registration.task_class()
    assert issubclass(task_class, GradientTask)
    return task_class(model, config, data, fresh=False)


def _assert_same(one: Path, other: Path) -> None:
    """Two runs have the same weights and went the same way."""
    weights, others = (load_file(run / "model.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    for name in weights:
        assert torch.equal(weights[name], others[name]), name
    assert [(r["step"], r["loss"], r["validation_nmae"]) for r in _metrics(one)] == [
        (r["step"], r["loss"], r["validation_nmae"]) for r in _metrics(other)
    ]


def _metrics(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """What Ctrl-C does, at a chosen step."""
    original = Schedule.on_train_batch_end

    def stop(self: Schedule, trainer: Any, *args: Any) -> None:
        self.interrupted = trainer.global_step >= steps
        original(self, trainer, *args)

    monkeypatch.setattr(Schedule, "on_train_batch_end", stop)


def test_run_folder_holds_config_model_and_metrics(tmp_path: Path) -> None:
    out = train(_config("orbital", 5), tmp_path / "run")
    config, facts, notes = read_header(out / "model.safetensors")
    assert config == _config("orbital", 5)
    assert set(facts["basis"]) == {"Li", "O"}
    assert notes["steps"] == 5
    assert (out / "metrics.csv").read_text().startswith("step,minutes,loss,learning_rate,validation_nmae")
    assert any((out / "tensorboard").iterdir())
    with pytest.raises(UserError, match="--force"):
        train(_config("orbital", 5), out)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(_config("orbital", 5), tmp_path / "none", resume=True)


def test_only_the_same_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(_config("orbital", 5), tmp_path)
    with pytest.raises(UserError, match="other options under model"):
        train(_config("unet3d", 5), tmp_path, resume=True)
    state = tmp_path / "resume.ckpt"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        train(_config("orbital", 5), tmp_path, resume=True)


def test_a_mistake_found_late_leaves_the_run_that_is_there(tmp_path: Path) -> None:
    """Nor does a folder in which no run began need --force afterwards."""
    out = train(_config("orbital", 2), tmp_path / "run")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    nonsense = _config("orbital", 2, model={"basis": {"source": "nobasis", "l_max": 2}})
    for folder in (out, tmp_path / "new"):
        with pytest.raises(UserError, match="no basis 'nobasis'"):
            train(nonsense, folder, force=folder == out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert train(_config("orbital", 2), tmp_path / "new").is_dir()


def test_a_run_that_takes_the_place_of_another_has_its_logs_alone(tmp_path: Path) -> None:
    for steps in (2, 3):
        train(_config("unet3d", steps), tmp_path, force=True)
        assert len(list((tmp_path / "tensorboard").glob("events*"))) == 1


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch finds no CUDA GPU here"):
        train(_config("unet3d", 2, device="gpu"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_a_run_of_another_version_is_refused_before_anything_changes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its weights are called: the learning rate, the time used and the random state would be lost."""
    _stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(_config(kind, 5), tmp_path)
    monkeypatch.undo()
    state = torch.load(tmp_path / "resume.ckpt", weights_only=True)
    old = {"Schedule": "_Course", "RandomState": "_Chance", "RunLog": "_Books"}
    state["callbacks"] = {old.get(name, name): part for name, part in state["callbacks"].items()}
    torch.save(state, tmp_path / "resume.ckpt")
    (tmp_path / "config.yaml").write_text("# kept\n" + (tmp_path / "config.yaml").read_text())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="another version of orbdens"):
        train(_config(kind, 5), tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_tensor_products_train_and_load(tmp_path: Path) -> None:
    """e3nn's modules change when they are copied, and averaging weights copies them."""
    model = {"convolution": "tensor-product", "channels": 32, "l_max": 4, "layers": 1}
    out = train(_config("orbital", 2, model=model), tmp_path / "run")
    structure = open_store("lithium-oxide")["li2o-000"].structure
    assert load_model(out).predict(structure).n_electrons == pytest.approx(12, abs=1e-4)


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_fine_tuning_starts_from_the_error_of_its_start(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    free = {"orbital": {"points_per_structure": 100}, "unet3d": {"dropout": 0.0}}
    config = _config(kind, 1, start_from=bases[kind], validate_every=1, objective=free[kind])
    out = train(config, tmp_path / "run")
    store = open_store("lithium-oxide")
    keys, _ = splits_of(store, config.data)
    task = _task(config, TrainingData(store, keys, tmp_path, silent), load_model(bases[kind]).train())
    examples = Examples(task.stages)
    draws = next(iter(EndlessBatches(keys, 3, seed=0, start=0, stage_at=lambda step: 0)))
    loss = task.stages[0].loss(examples.collate([examples[draw] for draw in draws]).batch)
    assert float(_metrics(out)[0]["loss"]) == loss.item()


def test_fine_tuning_that_learns_nothing_changes_nothing(bases: dict[str, Path], tmp_path: Path) -> None:
    others = {"train_split": "test", "n_train": 5, "validation_split": "train"}
    out = train(_config("orbital", 2, start_from=bases["orbital"], learning_rate=1e-30, data=others), tmp_path / "run")
    before, after = (load_file(run / "model.safetensors") for run in (bases["orbital"], out))
    for name in before:
        if name.startswith("uncertainty"):  # measured anew, on what the run learned from
            continue
        assert torch.allclose(before[name], after[name], rtol=0, atol=1e-20), name
    assert read_header(out / "model.safetensors")[2]["start"] == read_header(bases["orbital"] / "model.safetensors")[2]


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_frozen_parts_stay_and_resumed_fine_tuning_is_the_uninterrupted_one(
    kind: str, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bases[kind], tmp_path / "base")
    config = _config(kind, 20, start_from=tmp_path / "base", freeze=FROZEN[kind])
    train(config, tmp_path / "whole")
    _stop_after(monkeypatch, 10)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(UserError, match="has another training"):
        train(_config(kind, 20, start_from=tmp_path / "base"), tmp_path / "parts", resume=True)
    train(config, tmp_path / "parts", resume=True)
    _assert_same(tmp_path / "whole", tmp_path / "parts")
    before, after = (load_file(run / "model.safetensors") for run in (bases[kind], tmp_path / "whole"))
    frozen = {name for name in before for part in FROZEN[kind] if name.startswith(f"{part}.")}
    statistics = {name for name in before if name.startswith(("head.mean", "head.factor"))}
    assert len(frozen) > 5 and len(frozen) < len(before)
    for name in frozen | statistics:
        assert torch.equal(before[name], after[name]), name
    learned = {name for name in before.keys() - frozen - statistics if not name.startswith("uncertainty")}
    assert all(not torch.equal(before[name], after[name]) for name in learned), learned


def test_a_start_that_will_not_do_is_told(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["orbital"]
    for changes, sentence in (
        ({"start_from": tmp_path / "none"}, "there is no model at"),
        ({"model": {"channels": 16}}, "option model.channels is 16, but 8 in"),
        ({"model": {"basis": {"beta": 2.0, "l_max": 2}}}, "option model.basis.beta is 2.0, but 3.0 in"),
        ({"start_from": bases["unet3d"]}, "option model.kind is orbital, but unet3d in"),
        ({"data": {"store": str(GOLDEN), "n_train": 2, "n_validation": 1}}, "never saw C, H"),
        ({"freeze": ["backbone", "haed"]}, "no weights are called 'haed'; the model's parts are backbone, head"),
        ({"freeze": ["backbone.embe"]}, "no weights are called 'backbone.embe'"),
        ({"freeze": ["backbone", "head"]}, "nothing is left to train"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(_config("orbital", 5, **{"start_from": base, **changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="`freeze` needs `start_from`"):
        _config("orbital", 5, freeze=["backbone"])


def test_a_start_of_other_densities_is_told(bases: dict[str, Path], tmp_path: Path) -> None:
    config, _, notes = read_header(bases["orbital"] / "model.safetensors")
    model = load_model(bases["orbital"])
    model.facts["valence_electrons"]["Li"] = 1
    save_model(tmp_path / "model.safetensors", model, config, notes)
    with pytest.raises(UserError, match=r"Li has 3 electrons in the densities of .*, but 1 in"):
        train(_config("orbital", 5, start_from=tmp_path), tmp_path / "run")


def test_changed_orbitals_start_training_on_points_alone(tmp_path: Path) -> None:
    learns, points = {"learn_exponents": True}, {"points_stage": 1.0, "points_per_structure": 100}
    base = train(_config("orbital", 1, model=learns, objective=points), tmp_path / "base")
    mixed = {**points, "points_stage": 0.5}
    with pytest.raises(UserError, match="changed its orbitals"):
        train(_config("orbital", 1, model=learns, objective=mixed, start_from=base), tmp_path / "mixed")
    train(_config("orbital", 1, model=learns, objective=points, start_from=base), base, force=True)  # its own start


def test_bonds_that_the_start_never_saw_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(GOLDEN)
    config = _config("orbital", 1, model={"sites": "bond-pairs", "basis": {"l_max": 1, "virtual": {"l_max": 1}}})
    data = TrainingData(store, store.keys(), tmp_path, silent)
    facts = OrbitalTask.facts(config, data)
    del facts["basis"]["H-O"]
    with pytest.raises(UserError, match="no orbitals for H-O"):
        _task(config, data, build_model(config, facts))
    assert not caplog.messages
    config = parse_config({**config.model_dump(mode="json"), "objective": {"points_stage": 1.0}}, "the test")
    _task(config, data, build_model(config, facts))
    assert caplog.messages == ["the model to start from has no orbitals for H-O: such midpoints are left out"]


def test_what_fine_tuning_shows_is_no_news_afterwards(bases: dict[str, Path], tmp_path: Path) -> None:
    """Facts of the start name the charges and spins that it learned from; those of the new store join them."""
    shipped = open_store("lithium-oxide")
    with StoreWriter(tmp_path / "store", shipped.manifest) as writer:
        for key in shipped.keys("train")[:6]:
            record = shipped[key]
            writer.put(key, replace(record, structure=replace(record.structure, multiplicity=3)))
        writer.finish({"train": shipped.keys("train")[:6]})
    data = {"store": str(tmp_path / "store"), "n_train": 6}
    for kind, base in bases.items():
        triplet = replace(record.structure, multiplicity=3)
        assert any("multiplicity 3" in warning for warning in load_model(base).warnings(triplet))
        model = load_model(train(_config(kind, 1, start_from=base, data=data), tmp_path / kind))
        assert model.facts["states"] == [[0, 1], [0, 3]]
        assert model.warnings(triplet) == model.warnings(replace(triplet, multiplicity=1)) == ()


@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 2), ("seed", 1), ("learning_rate", 1e-3), ("ema_decay", 0.9)]
)
def test_a_resumed_run_keeps_its_options(
    option: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(_config("unet3d", 5), tmp_path)
    written = (tmp_path / "config.yaml").read_text()
    with pytest.raises(UserError, match=f"has another training.{option} than this config"):
        train(_config("unet3d", 5, **{option: value}), tmp_path, resume=True)
    assert (tmp_path / "config.yaml").read_text() == written
    monkeypatch.undo()
    train(_config("unet3d", 6, validate_every=3, device="auto"), tmp_path, resume=True)  # another end is no other run


def test_a_store_by_the_name_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN, tmp_path / "ethanol.store")
    monkeypatch.chdir(tmp_path / "ethanol.store")
    data = {"store": ".", "n_train": 2, "n_validation": 1}
    train(_config("unet3d", 1, data=data), tmp_path / "run")
    assert read_header(tmp_path / "run" / "model.safetensors").training["store"] == "ethanol.store"
    assert (tmp_path / "ethanol.store.cache").is_dir()


class _FullDisk:
    """Writing fails from a certain file on, as on a disk without room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        original = Path.open

        def open_(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if name in path.name and "w" in mode:
                original(path, mode, *args, **kwargs).close()  # what was in the file is gone
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return original(path, mode, *args, **kwargs)

        monkeypatch.setattr(Path, "open", open_)


def test_a_full_disk_is_told_and_leaves_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config("unet3d", 10, validate_every=2, checkpoint_every=2)
    _stop_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path)
    monkeypatch.undo()
    before = {name: (tmp_path / name).read_bytes() for name in ("metrics.csv", "resume.ckpt")}
    _FullDisk(monkeypatch, "metrics.csv")
    with pytest.raises(UserError, match="no space left on device"):
        train(config, tmp_path, resume=True)
    assert (tmp_path / "metrics.csv").read_bytes() == before["metrics.csv"]
    monkeypatch.undo()
    state = (tmp_path / "resume.ckpt").read_bytes()

    def fails(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", fails)
    with pytest.raises(UserError, match="no space left on device"):
        train(config, tmp_path, resume=True)
    assert (tmp_path / "resume.ckpt").read_bytes() == state
    assert not list(tmp_path.glob(".*part"))
    monkeypatch.undo()
    train(config, tmp_path, resume=True)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("cuda", "device", "accelerator"), [(False, "auto", "cpu"), (True, "auto", "gpu"), (True, "cpu", "cpu")]
)
def test_one_device_and_none_without_double_precision(
    cuda: bool, device: str, accelerator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the machine has: two GPUs would wait for each other for ever, Apple's know no float64."""
    import lightning.pytorch as lightning

    asked: dict[str, Any] = {}

    class Asked(Exception):
        pass

    def trainer(**options: Any) -> None:
        asked.update(options)
        raise Asked

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(lightning, "Trainer", trainer)
    with pytest.raises(Asked):
        train(_config("unet3d", 1, device=device), tmp_path / "run")
    assert (asked["accelerator"], asked["devices"]) == (accelerator, 1)
