"""Training and measuring routes, each in a process of its own: one that fails does not take the others with it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orbdens.checkpoint import MODEL_FILE
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.machine import peak_memory_mb
from orbdens.processes import Workers, begin_logged, last_words
from orbdens.routes.plan import Plan, Route

Log = Callable[[str], None]

FOLDERS = ("runs", "evaluations", "logs")
"""What a comparison keeps beside its report."""


@dataclass(frozen=True)
class Place:
    """The folder of a comparison.

    Attributes:
        out: the folder.
    """

    out: Path

    def run(self, route: Route) -> Path:
        """The folder of a route's training."""
        return self.out / "runs" / route.name

    def evaluation(self, route: Route) -> Path:
        """The figures of a route, as ``orbdens evaluate --json`` writes them."""
        return self.out / "evaluations" / f"{route.name}.json"

    def log(self, route: Route) -> Path:
        """What training and measuring a route printed."""
        return self.out / "logs" / f"{route.name}.log"

    def done(self, route: Route) -> Path:
        """What a finished training took; while there is none it has not ended."""
        return self.out / "logs" / f"{route.name}.json"


def work(routes: Sequence[Route], store: str, plan: Plan, place: Place, log: Log) -> dict[str, str]:
    """Train what is missing and measure what was not measured, several routes at a time.

    What an earlier call finished stays, and an interrupted training goes on.

    Returns:
        What went wrong, in a sentence, by the names of routes.
    """
    for folder in FOLDERS:
        (place.out / folder).mkdir(parents=True, exist_ok=True)
    workers = Workers()
    with ThreadPoolExecutor(plan.processes) as pool:
        try:
            found = pool.map(lambda route: _follow(route, store, plan, place, log, workers), routes)
            return {route.name: wrong for route, wrong in zip(routes, found, strict=True) if wrong is not None}
        except BaseException:
            workers.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _follow(route: Route, store: str, plan: Plan, place: Place, log: Log, workers: Workers) -> str | None:
    """Train and measure one route; what went wrong, or None."""
    try:
        if route.config is not None and not _is_trained(route, place):
            log(f"training {route.name}")
            begun = time.perf_counter()
            status = workers.run(_train, route, place, plan.threads)
            if status:
                return last_words(place.log(route), "training", status)
            log(f"trained {route.name} in {(time.perf_counter() - begun) / 60:.1f} minutes")
        if not _is_measured(route, place):
            log(f"measuring {route.name}")
            status = workers.run(_measure, route, store, plan, place)
            if status:
                return last_words(place.log(route), "evaluation", status)
    except UserError as error:
        return str(error)
    return None


def _is_trained(route: Route, place: Place) -> bool:
    """Whether a run ended; UserError if it was one of other options."""
    run, done = place.run(route), place.done(route)
    if not done.is_file() or not (run / MODEL_FILE).is_file():
        return False
    before = json.loads(done.read_text(encoding="utf-8"))["config"]
    if before != route.load().model_dump(mode="json"):
        raise UserError(f"{run} was trained with other options: remove that folder, or --force begins all anew")
    return True


def _is_measured(route: Route, place: Place) -> bool:
    model = route.model or place.run(route)
    file, figures = model / MODEL_FILE if model.is_dir() else model, place.evaluation(route)
    return figures.is_file() and figures.stat().st_mtime >= file.stat().st_mtime


def _train(route: Route, place: Place, threads: int) -> None:
    begin_logged(place.log(route), threads)
    from orbdens.training.folder import RESUME_FILE
    from orbdens.training.run import train

    run, config = place.run(route), route.load()
    try:
        resume = (run / RESUME_FILE).is_file()
        train(config, run, resume=resume, force=not resume)
    except UserError as error:
        raise SystemExit(f"{error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    took = {"peak_memory_mb": peak_memory_mb(), "config": config.model_dump(mode="json")}
    with written_whole(place.done(route)) as temporary:
        temporary.write_text(json.dumps(took), encoding="utf-8")


def _measure(route: Route, store: str, plan: Plan, place: Place) -> None:
    begin_logged(place.log(route), plan.threads)
    import torch

    from orbdens.evaluation.measure import evaluate

    torch.set_num_threads(plan.threads)
    model = route.model or place.run(route)
    try:
        found = evaluate(
            model,
            store,
            plan.split,
            name=route.name,
            n=plan.n,
            with_robustness=route.n_train is None,
            device=plan.device,
        )
        if place.done(route).is_file():
            took = json.loads(place.done(route).read_text(encoding="utf-8"))
            cost = found.cost.model_copy(update={"training_memory_mb": took["peak_memory_mb"]})
            found = found.model_copy(update={"cost": cost})
        found.write(place.evaluation(route))
    except UserError as error:
        raise SystemExit(f"{error}") from None


def begin_anew(place: Place) -> None:
    """Remove what earlier comparisons left in the folder: runs, figures, logs."""
    for folder in FOLDERS:
        shutil.rmtree(place.out / folder, ignore_errors=True)
