"""A run by gradient steps: the glue between a task and Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from operator import itemgetter
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from orbdens.config import TrainingConfig
from orbdens.errors import UserError
from orbdens.models.task import GradientTask
from orbdens.processes import keep_freed_memory
from orbdens.progress import Display
from orbdens.training.averaging import Averaging
from orbdens.training.batches import EndlessBatches, Examples, Step
from orbdens.training.folder import LOGS, RESUME_FILE
from orbdens.training.launch import Place
from orbdens.training.ranks import QUIETLY, Ranks, is_loss, lost_one
from orbdens.training.run_log import RandomState, RunLog
from orbdens.training.schedule import Schedule
from orbdens.training.strategy import Environment, SharedBatchNorm, strategy_of
from orbdens.training.validation import Reference, errors


class _Run(lightning.LightningModule):
    def __init__(
        self,
        task: GradientTask[Any],
        options: TrainingConfig,
        train_keys: Sequence[str],
        labels: Sequence[Reference],
        schedule: Schedule,
        ranks: Ranks,
    ) -> None:
        super().__init__()
        self.task, self.model = task, task.model
        self.options, self.train_keys, self.labels, self.schedule = options, train_keys, labels, schedule
        self.ranks = ranks

    def __deepcopy__(self, memo: dict[int, Any]) -> _Run:
        """Averaging copies the module for its weights; caches, stores and the display stay shared."""
        task = copy(self.task)
        task.model = deepcopy(self.model, memo)
        return _Run(task, self.options, self.train_keys, self.labels, self.schedule, self.ranks)

    def train_dataloader(self) -> DataLoader[Any]:
        examples = Examples(self.task.stages)
        batches = EndlessBatches(
            self.train_keys,
            self.options.batch_size,
            self.options.seed,
            self.trainer.global_step,
            lambda step: self.task.stage_at(self.schedule.fraction(step)),
            self.ranks,
            lambda stage, keys: self.task.stages[stage].expect(keys),
        )
        return DataLoader(
            examples,
            batch_sampler=batches,
            collate_fn=examples.collate,
            generator=torch.Generator(),  # else each new loader draws from torch's own, and a resumed run differs
        )

    def val_dataloader(self) -> DataLoader[Any]:
        whole: Any = [list(self.labels)]  # the model cuts its own batches
        return DataLoader(whole, collate_fn=itemgetter(0), generator=torch.Generator())

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, list):  # labels to validate on stay where they are
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, step: Step, index: int) -> Tensor:
        loss = self.task.stages[step.stage].loss(step.batch)
        if self.ranks.place.size > 1:  # gradients are averaged over processes, which may have parts of unequal size
            loss = loss * (step.n * self.ranks.place.size / self.options.batch_size)
        self.log("loss", loss, batch_size=self.options.batch_size)
        return loss

    def validation_step(self, labels: Sequence[Reference], index: int) -> None:
        own = errors(self.model, labels) if labels else []
        total, n = self.ranks.together([sum(own), len(own)], "sum")
        self.log("validation_nmae", total / n, batch_size=int(n))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # One call for all tensors: one after the other they take 4 ms of Python a step.
        return torch.optim.Adam(self.parameters(), lr=self.options.learning_rate, foreach=True)


def run_gradient_steps(
    task: GradientTask[Any],
    options: TrainingConfig,
    keys: Sequence[str],
    labels: Sequence[Reference],
    out: Path,
    display: Display,
    resume: bool,
    ranks: Ranks,
    gpu: bool,
) -> dict[str, float]:
    """Train a task's model in place, to averaged weights.

    Args:
        task: what learns.
        options: the section ``training``.
        keys: keys of the training records.
        labels: what to validate on, the part of this process.
        out: run folder.
        display: shows the progress.
        resume: go on from the state in the folder.
        ranks: the processes that share the run.
        gpu: whether to train on GPUs, one for each process.

    Returns:
        Notes on the run: ``steps`` and ``minutes``.

    Raises:
        UserError: the loss is not finite, another process was lost, or Lightning has no such strategy.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    keep_freed_memory()
    schedule = Schedule(options, ranks)
    place = ranks.place
    with _without_remarks():
        trainer = lightning.Trainer(
            # Lightning's own "auto" takes Apple's GPUs too, which have no double precision.
            accelerator="gpu" if gpu else "cpu",
            devices=place.local_size,
            num_nodes=place.size // place.local_size,
            strategy=strategy_of(options.strategy, place),
            plugins=[Environment(place), SharedBatchNorm()] if place.size > 1 else None,
            use_distributed_sampler=False,  # our batches know the processes
            precision=options.precision,
            max_epochs=-1,
            max_steps=options.steps or -1,
            val_check_interval=options.validate_every,
            check_val_every_n_epoch=None,
            gradient_clip_val=options.gradient_clip,
            num_sanity_val_steps=0,
            logger=TensorBoardLogger(out, name=LOGS, version="") if ranks.first else False,
            callbacks=[
                Averaging(options.ema_decay),
                schedule,
                RandomState(options.seed, place),
                RunLog(out, options, schedule, display, resume, ranks),
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=out,
        )
        run = _Run(task, options, keys, labels, schedule, ranks)
        state = out / RESUME_FILE if resume else None
        with schedule.stops_on_interrupt():
            try:
                trainer.fit(run, ckpt_path=state, weights_only=True)
            except RuntimeError as error:
                if "loading state_dict" in str(error):
                    raise UserError(
                        f"{state} was written by another version of orbdens: finish the run with that, or start anew"
                    ) from None
                if place.size > 1 and is_loss(error):
                    schedule.ends_by_itself()
                    raise UserError(lost_one(place)) from error
                raise
            except SystemExit as error:
                if error.code == QUIETLY:
                    raise
                raise KeyboardInterrupt from None  # how Lightning ends after a second Ctrl-C
            finally:
                for stage in task.stages:
                    stage.close()
    if schedule.interrupted:
        raise KeyboardInterrupt
    return {"steps": trainer.global_step, "minutes": schedule.seconds / 60}


def on_gpu(device: str, place: Place) -> bool:
    """Whether to train on GPUs.

    Args:
        device: the option.
        place: of this process; each process of a machine needs a GPU of its own.

    Raises:
        UserError: GPUs are asked for and there are too few.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return False
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        raise UserError("option training.device is gpu, but torch finds no CUDA GPU here: set it to auto or cpu")
    if there < place.local_size:
        raise UserError(f"{place.local_size} processes need a GPU each, but torch finds {there} here")
    return True


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Lightning's own remarks on devices and loaders say nothing a user of orbdens can act on."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for remark in ("isinstance.treespec", "find_unused_parameters", "Grad strides do not match"):
            warnings.filterwarnings("ignore", message=f".*{remark}.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
