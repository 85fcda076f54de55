"""Training of any model on any store."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.checkpoint import MODEL_FILE, build_model, save_model
from orbdens.config import Config, TrainingConfig
from orbdens.errors import UserError
from orbdens.files import reason
from orbdens.models.interface import DensityModel
from orbdens.models.registry import find
from orbdens.models.task import FitTask, GradientTask, TrainingData
from orbdens.progress import Display
from orbdens.store import open_store
from orbdens.structure import Structure
from orbdens.training.batches import splits_of
from orbdens.training.fine_tuning import freeze, load_start
from orbdens.training.folder import START_FILE, begin_run, cache_folder, check_resumable, check_run_folder
from orbdens.training.launch import Place, launched, started, threads_of
from orbdens.training.ranks import gathered
from orbdens.training.validation import errors, errors_of_atoms, references

VALIDATION_SPACING = 0.3
"""Å; grid on which a model without gradient steps is validated."""


def train(
    config: Config, out: Path, resume: bool = False, force: bool = False, share_cache: Path | None = None
) -> Path:
    """Train a model, from random weights or from ``training.start_from``, and write it to a run folder.

    The folder gets ``model.safetensors`` (averaged weights, whole config, basis) and ``config.yaml``; of a run by
    gradient steps also ``metrics.csv``, TensorBoard logs, ``resume.ckpt`` and ``start.safetensors`` (the model it
    started from, if any). Targets computed once per record are cached beside the store, or in the run folder where
    that is not writable.

    With ``training.devices``, or under torchrun or srun, several processes share every batch; only the first writes.

    Args:
        config: the whole run.
        out: run folder.
        resume: go on from ``resume.ckpt`` in it.
        force: replace a run that is there.
        share_cache: in place of the run folder, a folder for the cache that other runs have too.

    Returns:
        The run folder.

    Raises:
        UserError: the store, the folder, an option or the start will not do, the disk is full, or a process of
            several is lost; KeyboardInterrupt after Ctrl-C, with the state saved.
    """
    registration = find(config.model.kind)
    assert registration is not None  # else the config could not have been read
    task_class = registration.task_class()
    try:
        if issubclass(task_class, FitTask):
            if launched().first:
                _fit(task_class, config, out, resume, force, share_cache or out)
        else:
            assert isinstance(config.training, TrainingConfig)
            arguments = (config, out, resume, force, share_cache or out)
            with started(config.training, _train_at, *arguments) as place:
                _train_at(place, *arguments)
    except OSError as error:
        raise UserError(f"the run in {out} stopped: {reason(error)}") from error
    return out


def _train_at(place: Place, config: Config, out: Path, resume: bool, force: bool, cached_in: Path) -> None:
    """The part of one process in a run by gradient steps."""
    registration = find(config.model.kind)
    assert registration is not None
    task_class = registration.task_class()
    assert issubclass(task_class, GradientTask)
    _take_steps(place, task_class, config, out, resume, force, cached_in)


def _fit(task_class: type[FitTask[Any]], config: Config, out: Path, resume: bool, force: bool, cached_in: Path) -> None:
    """A model that is made in one call."""
    _set_threads(config.training.threads)
    if resume:
        raise UserError(f"a model of kind {config.model.kind} is made in one go: there is nothing to resume")
    store = open_store(config.data.store)
    keys, validation_keys = splits_of(store, config.data)
    store[keys[0]]  # a damaged store is told before anything is written
    check_run_folder(out, resume, force)
    _seed(config.training.seed)
    with Display() as display:
        begun = time.monotonic()
        model = task_class.fit(config, TrainingData(store, keys, cache_folder(store.path, cached_in), display.count))
        minutes = (time.monotonic() - begun) / 60
        labels = references(store, validation_keys, VALIDATION_SPACING, display.count)
        notes = {"minutes": minutes, "validation_nmae": float(np.mean(errors(model, labels)))}

        def errors_of(keys: Sequence[str]) -> list[tuple[Structure, NDArray[np.float64]]]:
            return errors_of_atoms(model, store, keys, VALIDATION_SPACING, display.count)

        task_class.finish(model, validation_keys, errors_of)
        begin_run(out, config, resume)
    _save(model, config, out, notes, store.path.resolve().name, store.manifest.level, len(keys), start=None)


def _take_steps(
    place: Place,
    task_class: type[GradientTask[Any]],
    config: Config,
    out: Path,
    resume: bool,
    force: bool,
    cached_in: Path,
) -> None:
    """A model that learns by gradient steps."""
    from orbdens.training.gradient_run import on_gpu, run_gradient_steps  # Lightning takes seconds to import

    options = config.training
    assert isinstance(options, TrainingConfig)
    _set_threads(threads_of(place, options.threads))
    gpu = on_gpu(options.device, place)
    with gathered(place, gpu, options.patience) as ranks, Display(shown=ranks.first) as display:
        begun = time.monotonic()
        progress = display.count
        with ranks.first_of_all("preparation"):  # others find in the cache what was computed
            store = open_store(config.data.store)
            keys, validation_keys = splits_of(store, config.data)
            store[keys[0]]  # a damaged store is told before anything is written
            if resume and ranks.first:
                check_resumable(out, config)
            start = None
            if options.start_from is not None:
                start = load_start(out / START_FILE if resume else options.start_from, config)
                freeze(start.model, options.freeze)
                start.check(store, keys + validation_keys)
            if ranks.first:
                check_run_folder(out, resume, force)
            _seed(options.seed)
            data = TrainingData(store, keys, cache_folder(store.path, cached_in), progress, place.local_size)
            facts = ranks.from_first("facts", partial(task_class.facts, config, data))
            model = build_model(config, facts) if start is None else start.learning(facts)
            task = task_class(model, config, data, fresh=start is None)
        labels = references(store, ranks.share(validation_keys), options.validation_spacing, progress)
        preparation = (time.monotonic() - begun) / 60
        with ranks.first_of_all("beginning"):
            if ranks.first:
                begin_run(out, config, resume)  # not before: what is there stays if the data or an option will not do
                if start is not None and not resume:
                    start.save(out)
        notes = run_gradient_steps(task, options, keys, labels, out, display, resume, ranks, gpu)

        def errors_of(keys: Sequence[str]) -> list[tuple[Structure, NDArray[np.float64]]]:
            return errors_of_atoms(model, store, keys, options.validation_spacing, progress)

        with ranks.first_of_all("finish"):
            if not ranks.first:
                return
            task.finish(validation_keys, errors_of)
            notes["preparation_minutes"] = preparation
            before = None if start is None else start.notes
            _save(model, config, out, notes, store.path.resolve().name, store.manifest.level, len(keys), before)


def _save(
    model: DensityModel,
    config: Config,
    out: Path,
    notes: dict[str, float],
    store: str,
    level: Any,
    n_structures: int,
    start: dict[str, Any] | None,
) -> None:
    about = {"structures": n_structures, "store": store, "level": dict(level), "start": start}
    save_model(out / MODEL_FILE, model, config, {**notes, **about})


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries that models use may draw from it)
    torch.manual_seed(seed)
