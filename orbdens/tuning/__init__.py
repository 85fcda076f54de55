"""Search for the options of a model that give the smallest error on held-out structures, by optuna."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from orbdens.errors import UserError
from orbdens.evaluation.tables import Table
from orbdens.files import reason
from orbdens.processes import Workers
from orbdens.tuning.locks import Presence
from orbdens.tuning.plan import Place, Plan, check_place

if TYPE_CHECKING:
    from orbdens.tuning.study import Study, Trial

Work = Callable[["Trial", Plan, Place, "Study", Workers], "Trial"]
"""Makes of a trial what came of it."""


def check_optuna() -> None:
    """UserError unless optuna is installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("orbdens tune needs optuna, which is not installed: pip install 'orbdens[tune]'") from None


def tune(plan: Plan, out: Path, log: Callable[[str], None], force: bool = False, work: Work | None = None) -> Table:
    """Try options until as many trials as wanted are finished, and write down what was found.

    A trial is a training and a measurement on the structures held out from it, in a process of its own. The folder
    gets ``tune.json``, ``best.yaml``, ``tuning.png`` and ``tuning.svg``, and the run folder and the log of every trial.
    Finished trials of an earlier call on the same terms stay; those that were cut off are begun anew. Several calls may
    work in one folder at once, on several machines too. A trial that fails is noted and leaves the others alone.

    Args:
        plan: what is searched, and how.
        out: the folder.
        log: told what is being done, a line at a time.
        force: begin anew.
        work: trains and measures a trial.

    Raises:
        UserError: the folder or the store will not do, or all trials failed; KeyboardInterrupt after Ctrl-C.
    """
    check_optuna()
    from orbdens.store import open_store
    from orbdens.training.batches import splits_of
    from orbdens.tuning.report import table_of, write_results
    from orbdens.tuning.study import Study
    from orbdens.tuning.worker import run_trial

    place = Place(out)
    store = open_store(plan.config.data.store)
    store[splits_of(store, plan.config.data)[0][0]]  # a damaged store is told before anything is written
    check_place(place, plan, force)
    if force:
        _begin_anew(place)
    if not place.results.is_file():
        write_results(place, plan, [], {})  # the terms before anything else: a kill may come at any time
    study = Study(place, plan)
    try:
        _work(plan, place, study, work or run_trial, log)
        trials, importance = study.trials(), study.importance()
        write_results(place, plan, trials, importance)
        if all(trial.state == "failed" for trial in trials):
            raise UserError(f"all {len(trials)} trials failed, the first one so: {trials[0].reason}")
        if any(trial.error is not None for trial in trials):
            from orbdens.evaluation.pictures import write_pictures
            from orbdens.tuning.picture import draw_search

            write_pictures(place.out, {"tuning": draw_search(plan.space, trials)})
        return table_of(plan, trials, importance)
    except OSError as error:
        raise UserError(f"the search in {out} stopped: {reason(error)}") from None
    finally:
        study.end()


def _work(plan: Plan, place: Place, study: Study, work: Work, log: Callable[[str], None]) -> None:
    """Work on trials, several at a time, until there are as many as wanted."""
    from orbdens.tuning.report import best_of, sentence, write_results

    workers, one_at_a_time = Workers(), threading.Lock()

    def work_on() -> None:
        while (trial := study.next()) is not None:
            log(f"trial {trial.number} begins: {sentence(trial.options)}")
            done = work(trial, plan, place, study, workers)
            if workers.stopped:
                return  # it was cut off, and is left as it is
            with one_at_a_time:
                study.tell(done)
                trials = study.trials()
                write_results(place, plan, trials, study.importance())
                best = best_of(trials)
                so_far = "" if best is None else f"; best so far: {best.error:.4g} % by trial {best.number}"
                what = f"{done.error:.4g} %" if done.state == "complete" else done.reason or "worse than others"
                log(f"trial {done.number} {done.state} after {done.minutes or 0.0:.1f} minutes: {what}{so_far}")

    with ThreadPoolExecutor(plan.terms.processes) as pool:
        try:
            at_work = [pool.submit(work_on) for _ in range(plan.terms.processes)]
            for future in as_completed(at_work):
                future.result()
        except BaseException:
            workers.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _begin_anew(place: Place) -> None:
    """Remove what earlier searches left in the folder; UserError while one is at work there."""
    others = Presence(place.locks).others()
    if others:
        raise UserError(f"another command is at work in {place.out} ({others[0]}): --force would take its trials away")
    for folder in ("trials", "logs"):
        shutil.rmtree(place.out / folder, ignore_errors=True)
    for file in (place.journal, place.results, place.best):
        file.unlink(missing_ok=True)
