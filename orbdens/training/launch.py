"""Who starts the processes that train one model: torchrun, SLURM's srun, or this one itself."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orbdens.config import TrainingConfig
from orbdens.errors import UserError
from orbdens.machine import available_cores
from orbdens.processes import end_with_parent

PATIENCE = 10.0
"""Seconds that processes have to save what they have when the first one fails."""


@dataclass(frozen=True)
class Place:
    """One process among those that train together.

    Attributes:
        rank: number of the process.
        size: how many there are.
        local_rank: number of the process on its machine.
        local_size: how many there are on its machine.
        meeting: where they find each other, as ``torch.distributed.rendezvous`` takes it.
        starter: what started them.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    meeting: str = ""
    starter: str = ""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0


ALONE = Place()


def launched() -> Place:
    """Where torchrun or srun has put this process; alone if neither started it."""
    env = os.environ
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        rank, size = int(env["RANK"]), int(env["WORLD_SIZE"])
        local = int(env.get("LOCAL_RANK", rank)), int(env.get("LOCAL_WORLD_SIZE", size))
        return Place(rank, size, *local, f"env://?rank={rank}&world_size={size}", "torchrun")
    # Not SLURM_NTASKS: a batch script has that too, and runs once.
    size = int(env.get("SLURM_STEP_NUM_TASKS", 1))
    if size == 1:
        return ALONE
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    rank, local_size = int(env["SLURM_PROCID"]), size // int(env.get("SLURM_STEP_NUM_NODES", 1))
    address = SLURMEnvironment.resolve_root_node_address(env.get("SLURM_STEP_NODELIST", "127.0.0.1"))
    port = env.get("MASTER_PORT", str(15000 + int(env["SLURM_JOB_ID"]) % 10000))  # jobs that share a machine differ
    meeting = f"tcp://{address}:{port}?rank={rank}&world_size={size}"
    return Place(rank, size, int(env["SLURM_LOCALID"]), local_size, meeting, "srun")


@contextmanager
def started(options: TrainingConfig, work: Callable[..., Any], *arguments: Any) -> Iterator[Place]:
    """The place of this process; where ``training.devices`` asks for more and nothing started them, they are started.

    Args:
        options: the section ``training``.
        work: what the others do, a function of their place and ``arguments``; they end with this process.
        arguments: whatever pickles.

    Raises:
        UserError: the options ask for other processes than were started.
    """
    place = launched()
    if place.size > 1:
        for name, asked, there in (
            ("devices", options.devices, place.local_size),
            ("nodes", options.nodes, place.size // place.local_size),
        ):
            if asked not in (None, there):
                raise UserError(f"option training.{name} is {asked}, but {place.starter} has started {there}")
    elif (options.nodes or 1) > 1:
        raise UserError(
            f"option training.nodes is {options.nodes}: start the run with torchrun or srun on each of them"
        )
    elif (options.devices or 1) > 1:
        with _others(options.devices or 1, work, arguments) as place:
            yield place
        return
    yield place


@contextmanager
def _others(size: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterator[Place]:
    """Processes of this machine that run beside this one, which gets place 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [
        Place(rank, size, rank, size, f"tcp://127.0.0.1:{port}?rank={rank}&world_size={size}", "orbdens train")
        for rank in range(size)
    ]
    context = multiprocessing.get_context("spawn")  # a fork would take over locks of threads that are not there
    processes = [context.Process(target=_begin, args=(work, place, arguments)) for place in places[1:]]
    for process in processes:
        process.start()
    try:
        yield places[0]
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join(PATIENCE)
            process.kill()


def _begin(work: Callable[..., Any], place: Place, arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    try:
        work(place, *arguments)
    except UserError as error:
        print(f"orbdens: process {place.rank}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def threads_of(place: Place, asked: int | None) -> int | None:
    """Threads for one of several processes of a machine; None leaves them to torch."""
    if asked is not None or place.local_size == 1 or "OMP_NUM_THREADS" in os.environ:
        return asked
    return max(1, available_cores() // place.local_size)
