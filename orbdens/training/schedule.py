"""How far a run is, which sets the learning rate, the stage and the end."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

from orbdens.config import TrainingConfig
from orbdens.training.ranks import Ranks


class Schedule(Callback):
    """Linear warm-up and cosine decay over steps or minutes. Time counts over all resumed parts.

    Processes that share a run agree after each step on the time and on whether one of them was interrupted.
    """

    def __init__(self, options: TrainingConfig, ranks: Ranks) -> None:
        self.options, self.ranks = options, ranks
        self.seconds = 0.0
        self._since = 0.0
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def fraction(self, step: int) -> float:
        """0 at the start, 1 at the end: the farther of steps and minutes."""
        by_steps = step / self.options.steps if self.options.steps else 0.0
        by_time = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._since = time.monotonic()
        if signal.getsignal(signal.SIGINT) == self._note:  # Lightning's handler of SIGTERM would end the run unsaved
            signal.signal(signal.SIGTERM, self._note)

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
        self.seconds, interrupted = self.ranks.together([self.seconds, float(self.interrupted)], "max")
        self.interrupted = bool(interrupted)
        if self.interrupted or self.fraction(trainer.global_step) >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    @contextmanager
    def stops_on_interrupt(self) -> Iterator[None]:
        """The first Ctrl-C (or a batch system's SIGTERM) ends the run after the step it is in; a second one at once."""
        if threading.current_thread() is not threading.main_thread():  # signals are not for other threads
            yield
            return
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def ends_by_itself(self) -> None:
        """From here on SIGTERM is ignored: a launcher sends it when one process is lost, and would cut short what the
        others say about that."""
        if self._before:
            self._before[signal.SIGTERM] = signal.SIG_IGN

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
