"""What a run leaves behind while it goes on: metrics.csv, a progress bar, and the state to resume from."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from orbdens.config import TrainingConfig
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.progress import Display
from orbdens.training.folder import METRICS_FILE, RESUME_FILE
from orbdens.training.launch import Place
from orbdens.training.ranks import QUIETLY, Ranks, is_loss
from orbdens.training.schedule import Schedule

METRICS = ("step", "minutes", "loss", "learning_rate", "validation_nmae")


class RunLog(Callback):
    """Progress bar, metrics.csv, and the resumable state, each file written whole or not at all, by one process."""

    def __init__(
        self, out: Path, options: TrainingConfig, schedule: Schedule, display: Display, resume: bool, ranks: Ranks
    ) -> None:
        self.out, self.options, self.schedule, self.display, self.ranks = out, options, schedule, display, ranks
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
        loss = self.ranks.together([float(outputs["loss"])], "sum")[0] / self.ranks.place.size
        if not math.isfinite(loss):
            if not self.ranks.first:
                raise SystemExit(QUIETLY)
            raise UserError(
                f"the loss is {loss} at step {trainer.global_step}: try a smaller training.learning_rate, and "
                "`orbdens data inspect` on the store"
            )
        self.smooth_loss = loss if self.smooth_loss is None else 0.95 * self.smooth_loss + 0.05 * loss
        self._show(trainer)
        if trainer.global_step % self.options.checkpoint_every == 0 or self.schedule.interrupted:
            self._save_state(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Without another process the step cannot be done, but what was before it is whole."""
        lost = self.ranks.place.size > 1 and is_loss(exception.__cause__ or exception)
        if lost and self.ranks.first and not trainer.validating and trainer.global_step > 0:
            self._save_state(trainer)

    def _save_state(self, trainer: lightning.Trainer) -> None:
        """Under a name in the same folder first: Lightning writes by way of other file systems, which is no rename."""
        state = self.out / RESUME_FILE
        part = state.with_name(f".{state.name}.{os.getpid()}.part")
        try:
            try:
                trainer.save_checkpoint(part)
            except RuntimeError:  # it waits for the others when it has written
                if not part.exists():
                    raise
            if not self.ranks.first:
                return
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(state)
        finally:
            part.unlink(missing_ok=True)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.rows.append(
            {
                "step": trainer.global_step,
                "minutes": round(self.schedule.seconds / 60, 3),
                "loss": self.smooth_loss,
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "validation_nmae": float(trainer.callback_metrics["validation_nmae"]),
            }
        )
        if self.ranks.first:
            self._write_metrics()
        self._show(trainer, important=True)

    def _write_metrics(self) -> None:
        with written_whole(self.out / METRICS_FILE) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, METRICS)
            writer.writeheader()
            writer.writerows(self.rows)

    def _show(self, trainer: lightning.Trainer, important: bool = False) -> None:
        note = f"step {trainer.global_step}  loss {self.smooth_loss:.4g}"
        if self.rows:
            note += f"  validation NMAE {float(self.rows[-1]['validation_nmae']):.3f} %"
        self.display.show("training", self.schedule.fraction(trainer.global_step), note, important)

    def state_dict(self) -> dict[str, Any]:
        return {"smooth_loss": self.smooth_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.smooth_loss = state_dict["smooth_loss"]


class RandomState(Callback):
    """The random numbers that models draw while they run (dropout) go on where they stopped.

    That holds for the first process; others draw numbers of their own, anew in each part of a run.

    Args:
        seed: the option.
        place: of this process.
    """

    def __init__(self, seed: int, place: Place) -> None:
        self.seed, self.place = seed, place

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.place.first:
            torch.manual_seed(hash((self.seed, self.place.rank, trainer.global_step)) % 2**32)

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"])
