"""The folder of a run: what lies in it, and whether a run may begin or go on there."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import yaml

from orbdens import shipped
from orbdens.checkpoint import MODEL_FILE
from orbdens.config import Config, load_config
from orbdens.errors import UserError
from orbdens.files import reason, written_whole

RESUME_FILE = "resume.ckpt"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.csv"
LOGS = "tensorboard"
CACHE = "cache"
START_FILE = "start.safetensors"
"""The model a run started from, kept in its folder: a resumed run must not depend on the original."""

MAY_CHANGE = (
    "steps",
    "minutes",
    "validate_every",
    "checkpoint_every",
    "validation_spacing",
    "threads",
    "device",
    "devices",
    "nodes",
    "strategy",
    "patience",
)
"""Options under ``training`` that a resumed run may have changed: where it ends and what it reports."""

STATES = {"Schedule", "RandomState", "RunLog"}
"""What this version needs of a checkpoint, as Lightning names it: the classes that keep state."""


def check_run_folder(out: Path, resume: bool, force: bool) -> None:
    """Make a folder in which a run may begin or go on; what lies in it stays.

    Raises:
        UserError: it holds something, and neither ``resume`` nor ``force`` is set; or it cannot be written.
    """
    if not (resume or force) and out.is_dir() and any(entry.name != CACHE for entry in out.iterdir()):
        raise UserError(f"{out} already holds something: add --resume to go on, or --force to replace it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"cannot write to the run folder {out}: {reason(error)}") from None


def begin_run(out: Path, config: Config, resume: bool) -> None:
    """Write the config of a run that begins or goes on; one that begins takes the place of one that is there.

    Raises:
        UserError: the folder cannot be written.
    """
    if not resume:
        logs = (out / LOGS).glob("events.out.tfevents.*")
        try:
            for old in (*(out / name for name in (MODEL_FILE, METRICS_FILE, RESUME_FILE, START_FILE)), *logs):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to the run folder {out}: {reason(error)}") from None
    with written_whole(out / CONFIG_FILE) as part:
        part.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def check_resumable(out: Path, config: Config) -> None:
    """UserError unless a folder holds the state of a run that differs from ``config`` in its end at most."""
    state = out / RESUME_FILE
    if not state.is_file():
        raise UserError(f"there is nothing to resume: {state} does not exist")
    if not zipfile.is_zipfile(state):
        raise UserError(f"{state} is damaged and cannot be resumed: start anew with --force")
    if not _states_of(state) >= STATES:
        raise UserError(
            f"{state} was written by another version of orbdens: finish the run with that, or start anew with --force"
        )
    begun = load_config(out / CONFIG_FILE)
    for section in ("model", "data", "objective"):
        if getattr(begun, section) != getattr(config, section):
            raise UserError(
                f"the run in {out} has other options under {section} than this config: see {CONFIG_FILE} there"
            )
    before, now = begun.training.model_dump(), config.training.model_dump()
    changed = [name for name in now if name not in MAY_CHANGE and before.get(name) != now[name]]
    if changed:
        raise UserError(
            f"the run in {out} has another training.{changed[0]} than this config ({before.get(changed[0])}, not "
            f"{now[changed[0]]}): see {CONFIG_FILE} there"
        )


def _states_of(state: Path) -> set[str]:
    """Names of the parts of a run whose state a checkpoint holds; UserError if it cannot be read."""
    import torch

    try:
        return set(torch.load(state, map_location="cpu", mmap=True, weights_only=True)["callbacks"])
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError, TypeError):
        raise UserError(f"{state} is damaged and cannot be resumed: start anew with --force") from None


def cache_folder(store: Path, out: Path) -> Path:
    """Beside a user's store; in the run folder for a store inside the package or on a read-only disk."""
    store = store.resolve()
    inside_package = shipped.HOME in store.parents
    beside = store.with_name(store.name + ".cache")
    return out / CACHE if inside_package or not os.access(store.parent, os.W_OK) else beside
