"""Training of any model on any store, through Lightning."""

from __future__ import annotations

import csv
import logging
import math
import os
import signal
import time
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from orbdens import shipped
from orbdens.checkpoint import MODEL_FILE, build_model, model_class, save_model
from orbdens.config import Config, TrainingConfig, load_config
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.metrics import nmae
from orbdens.models.interface import DensityModel
from orbdens.progress import Display
from orbdens.store import Store, open_store
from orbdens.structure import Structure
from orbdens.training.batches import EndlessBatches, Examples, splits_of
from orbdens.training.fine_tuning import START_FILE, load_start

RESUME_FILE = "resume.ckpt"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.csv"
METRICS = ("step", "minutes", "loss", "learning_rate", "validation_nmae")
MARGIN = 4.0
"""Å around a molecule in validation, as in evaluation."""


@dataclass(frozen=True, eq=False)
class _Label:
    structure: Structure
    grid: Grid
    values: NDArray[np.float32]


class _Run(lightning.LightningModule):
    """Glue between a model, its data and Lightning."""

    def __init__(
        self,
        model: DensityModel,
        training: TrainingConfig,
        store: Store,
        train_keys: Sequence[str],
        labels: Sequence[_Label],
        course: _Course,
    ) -> None:
        super().__init__()
        self.course = course
        self.model = model
        self.options = training
        self.store, self.train_keys, self.labels = store, train_keys, labels

    def train_dataloader(self) -> DataLoader[Any]:
        batches = EndlessBatches(
            self.train_keys, self.options.batch_size, self.options.seed, self.trainer.global_step, self.course.fraction
        )
        return DataLoader(
            Examples(self.model, self.store),
            batch_sampler=batches,
            collate_fn=self.model.collate,
            generator=torch.Generator(),  # else each new loader draws from torch's own, and a resumed run differs
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.labels,  # type: ignore[arg-type]
            batch_size=self.options.batch_size,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, list):  # labels to validate on stay where they are
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = self.model.loss(batch)
        self.log("loss", loss, batch_size=self.options.batch_size)
        return loss

    def validation_step(self, labels: list[_Label], index: int) -> None:
        self.log("validation_nmae", float(np.mean(self.errors(labels))), batch_size=len(labels))

    def errors(self, labels: Sequence[_Label]) -> list[float]:
        """NMAE in % of each prediction."""
        fields = self.model.predict([label.structure for label in labels])
        return [nmae(field.on(label.grid), label.values) for field, label in zip(fields, labels, strict=True)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)


class _Course(Callback):
    """How far the run is, which sets the learning rate and its end. Time counts over all resumed parts."""

    def __init__(self, options: TrainingConfig) -> None:
        self.options = options
        self.seconds = 0.0
        self._since = 0.0
        self.interrupted = False

    def fraction(self, step: int) -> float:
        """0 at the start, 1 at the end: the farther of steps and minutes."""
        by_steps = step / self.options.steps if self.options.steps else 0.0
        by_time = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        warm = min(1.0, (step + 1) / (self.options.warmup_steps + 1))
        decay = 0.5 * (1 + math.cos(math.pi * self.fraction(step)))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.options.learning_rate * warm * decay

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        if self.interrupted or self.fraction(trainer.global_step) >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]


class _Books(Callback):
    """Progress bar, metrics.csv, and the resumable state."""

    def __init__(self, out: Path, options: TrainingConfig, course: _Course, display: Display, resume: bool) -> None:
        self.out, self.options, self.course, self.display = out, options, course, display
        self.smooth_loss: float | None = None
        self.rows: list[dict[str, Any]] = []
        if resume and (out / METRICS_FILE).exists():
            with (out / METRICS_FILE).open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.rows = [row for row in self.rows if int(row["step"]) <= trainer.global_step]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {trainer.global_step}: try a smaller training.learning_rate, and "
                "`orbdens data inspect` on the store"
            )
        self.smooth_loss = loss if self.smooth_loss is None else 0.95 * self.smooth_loss + 0.05 * loss
        self._show(trainer)
        if trainer.global_step % self.options.checkpoint_every == 0 or self.course.interrupted:
            trainer.save_checkpoint(self.out / RESUME_FILE)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.rows.append(
            {
                "step": trainer.global_step,
                "minutes": round(self.course.seconds / 60, 3),
                "loss": self.smooth_loss,
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "validation_nmae": float(trainer.callback_metrics["validation_nmae"]),
            }
        )
        with (self.out / METRICS_FILE).open("w", newline="") as file:
            writer = csv.DictWriter(file, METRICS)
            writer.writeheader()
            writer.writerows(self.rows)
        self._show(trainer, important=True)

    def _show(self, trainer: lightning.Trainer, important: bool = False) -> None:
        note = f"step {trainer.global_step}  loss {self.smooth_loss:.4g}"
        if self.rows:
            note += f"  validation NMAE {float(self.rows[-1]['validation_nmae']):.3f} %"
        self.display.show("training", self.course.fraction(trainer.global_step), note, important)

    def state_dict(self) -> dict[str, Any]:
        return {"smooth_loss": self.smooth_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.smooth_loss = state_dict["smooth_loss"]


class _Chance(Callback):
    """The random numbers models draw while they run (dropout) go on where they stopped."""

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"])


def train(config: Config, out: Path, resume: bool = False, force: bool = False) -> Path:
    """Train a model, from random weights or from ``training.start_from``, and write it to a run folder.

    The folder gets ``model.safetensors`` (averaged weights, whole config, basis), ``config.yaml``, ``metrics.csv``,
    TensorBoard logs, ``resume.ckpt`` and ``start.safetensors`` (the model it started from, if any). Targets computed
    once per record are cached beside the store, or in the run folder where that is not writable.

    Args:
        config: the whole run.
        out: run folder.
        resume: go on from ``resume.ckpt`` in it.
        force: replace a run that is there.

    Returns:
        The run folder.

    Raises:
        UserError: the store, the folder, an option or the start will not do; KeyboardInterrupt after Ctrl-C, with the
            state saved.
    """
    options = config.training
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    store = open_store(config.data.store)
    keys, validation_keys = splits_of(store, config.data)
    store[keys[0]]  # a damaged store is told before anything is written
    if resume:
        _check_resumable(out, config)
    start = None
    if options.start_from is not None:
        start = load_start(out / START_FILE if resume else options.start_from, config)
        start.check(store, keys + validation_keys)
    _claim(out, config, resume, force)
    if start is not None and not resume:
        start.save(out)
    lightning.seed_everything(options.seed, workers=True, verbose=False)
    with Display() as display, _quiet():
        if start is None:
            facts = model_class(config).facts_from(config.model, store, keys)
            model = build_model(config, facts)
        else:
            model = start.model
        model.prepare(store, keys, _cache_folder(store.path, out), display.count, fresh=start is None)
        labels = []
        for done, key in enumerate(validation_keys):
            labels.append(_label(store, key, options.validation_spacing))
            display.count("labels to validate on", done + 1, len(validation_keys))
        course = _Course(options)
        trainer = lightning.Trainer(
            accelerator=options.device,
            devices=1 if options.device == "cpu" else "auto",
            precision=options.precision,
            max_epochs=-1,
            max_steps=options.steps or -1,
            val_check_interval=options.validate_every,
            check_val_every_n_epoch=None,
            gradient_clip_val=options.gradient_clip,
            num_sanity_val_steps=0,
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            callbacks=[
                WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay)),  # type: ignore[no-untyped-call]
                course,
                _Chance(),
                _Books(out, options, course, display, resume),
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=out,
        )
        run = _Run(model, options, store, keys, labels, course)
        with _stop_on_interrupt(course):
            trainer.fit(run, ckpt_path=out / RESUME_FILE if resume else None, weights_only=True)
        if course.interrupted:
            raise KeyboardInterrupt
        structures = [label.structure for label in labels]
        model.finish(store, keys, list(zip(structures, run.errors(labels), strict=True)))
        notes = {
            "steps": trainer.global_step,
            "minutes": course.seconds / 60,
            "structures": len(keys),
            "store": store.path.name,
            "level": store.manifest.level,
            "start": None if start is None else start.notes,
        }
        save_model(out / MODEL_FILE, model, config, notes)
    return out


def _label(store: Store, key: str, spacing: float) -> _Label:
    label = stored_density(store, key)
    grid = label.native_grid or Grid.around(label.structure, spacing, MARGIN)
    return _Label(label.structure, grid, label.on(grid))


def _claim(out: Path, config: Config, resume: bool, force: bool) -> None:
    """Make the run folder ours, or say why not."""
    if not (resume or force) and out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} already holds something: add --resume to go on, or --force to replace it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in () if resume else (MODEL_FILE, METRICS_FILE, RESUME_FILE, START_FILE):
            (out / old).unlink(missing_ok=True)
        (out / CONFIG_FILE).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise UserError(f"cannot write to the run folder {out}: {error.strerror}") from None


def _check_resumable(out: Path, config: Config) -> None:
    state = out / RESUME_FILE
    if not state.is_file():
        raise UserError(f"there is nothing to resume: {state} does not exist")
    if not zipfile.is_zipfile(state):
        raise UserError(f"{state} is damaged and cannot be resumed: start anew with --force")
    begun = load_config(out / CONFIG_FILE)
    if (begun.model, begun.data) != (config.model, config.data):
        raise UserError(
            f"the run in {out} has other options under model or data than this config: see {CONFIG_FILE} there"
        )
    before, now = begun.training, config.training
    if (before.start_from, before.freeze) != (now.start_from, now.freeze):
        raise UserError(
            f"the run in {out} has another training.start_from or training.freeze than this config: see "
            f"{CONFIG_FILE} there"
        )


def _cache_folder(store: Path, out: Path) -> Path:
    """Beside a user's store; in the run folder for a store inside the package or on a read-only disk."""
    beside = store.with_name(store.name + ".cache")
    inside_package = shipped.HOME in store.resolve().parents
    return out / "cache" if inside_package or not os.access(store.parent, os.W_OK) else beside


@contextmanager
def _stop_on_interrupt(course: _Course) -> Iterator[None]:
    """The first Ctrl-C (or a batch system's SIGTERM) ends the run after the step it is in; a second one at once."""

    def note(number: int, frame: FrameType | None) -> None:
        course.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's own remarks on devices and loaders say nothing a user of orbdens can act on."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
