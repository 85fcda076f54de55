"""Who may end a run, and when."""

from __future__ import annotations

import os
import signal

from orbdens.config import TrainingConfig
from orbdens.training.ranks import Ranks
from orbdens.training.schedule import Schedule


def _schedule() -> Schedule:
    return Schedule(TrainingConfig(steps=1), Ranks())


def test_handlers_are_those_of_before_after_a_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    schedule = _schedule()
    with schedule.stops_on_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        assert schedule.interrupted
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_launcher_does_not_cut_short_what_is_said_of_a_lost_process() -> None:
    before = signal.getsignal(signal.SIGTERM)
    schedule = _schedule()
    try:
        with schedule.stops_on_interrupt():
            schedule.ends_by_itself()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
