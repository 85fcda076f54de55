"""What processes that train one model tell each other: numbers after each step, and that work of the first is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from orbdens.errors import UserError
from orbdens.training.launch import ALONE, Place

T = TypeVar("T")

LOOK = timedelta(seconds=20)
"""How often those that wait for the first look whether it is still there."""

QUIETLY = 2
"""Exit status of a process that leaves the telling to the first."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them. One alone tells nobody and waits for nobody.

    Attributes:
        place: of this process.
    """

    place: Place = ALONE
    _board: Any = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.place.first

    def share(self, things: Sequence[T]) -> Sequence[T]:
        """The part of some things that is for this process."""
        return things[self.place.rank :: self.place.size]

    def together(self, numbers: list[float], how: Literal["sum", "max"]) -> list[float]:
        """Sums or maxima over all processes; to be called by all of them.

        Raises:
            UserError: one of them ended, or has been silent for too long.
        """
        if self.place.size == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64)
        with self.told():
            distributed.all_reduce(tensor, {"sum": distributed.ReduceOp.SUM, "max": distributed.ReduceOp.MAX}[how])
        return tensor.tolist()

    @contextmanager
    def first_of_all(self, what: str) -> Iterator[None]:
        """The block runs in the first process and, when it is done there, in the others, however long that takes.

        What the first leaves on disk the others find. If it fails there, the others end in silence.
        """
        if self.place.size == 1:
            yield
        elif self.first:
            outcome = "failed"
            try:
                yield
                outcome = "done"
            finally:
                self._board.set(what, outcome)
        else:
            self._wait_for(what)
            yield

    def from_first(self, what: str, make: Callable[[], Any]) -> Any:
        """What the first process makes, of JSON values; the others have it from there, in ``first_of_all`` alone."""
        if not self.first:
            return json.loads(self._board.get(what))
        made = make()
        if self.place.size > 1:
            self._board.set(what, json.dumps(made))
        return made

    def _wait_for(self, what: str) -> None:
        while True:
            try:
                self._board.wait([what], LOOK)
                break
            except distributed.DistNetworkError:
                raise SystemExit(QUIETLY) from None  # the first has gone without a word
            except distributed.DistStoreError:
                continue
        if self._board.get(what) == b"failed":
            raise SystemExit(QUIETLY)

    @contextmanager
    def told(self) -> Iterator[None]:
        """UserError in place of what torch raises in the block when it loses another process."""
        try:
            yield
        except RuntimeError as error:
            if self.place.size == 1 or not is_loss(error):
                raise
            raise UserError(lost_one(self.place)) from error


def is_loss(error: BaseException) -> bool:
    """Whether an error of torch says that another process has ended or fallen silent."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def lost_one(place: Place) -> str:
    """A sentence for it."""
    return (
        f"one of the {place.size} processes has ended or fallen silent (this is process {place.rank}): the same "
        "command goes on, with --resume if a step was done, on any number of processes"
    )


@contextmanager
def gathered(place: Place, on_gpu: bool, patience: float) -> Iterator[Ranks]:
    """Bring the processes of a run together.

    Args:
        place: of this process.
        on_gpu: whether gradients are summed on GPUs.
        patience: minutes after which a process that says nothing is taken for dead.

    Raises:
        UserError: not all of them came.
    """
    if place.size == 1:
        yield Ranks(place)
        return
    wait = timedelta(minutes=patience)
    try:
        board, rank, size = next(rendezvous(place.meeting, timeout=wait))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("orbdens", board),
            rank=rank,
            world_size=size,
            timeout=wait,
        )
    except (distributed.DistError, RuntimeError) as error:
        raise UserError(
            f"the {place.size} processes of the run did not find each other within {patience:g} minutes: "
            f"{str(error).splitlines()[0]}"
        ) from error
    try:
        yield Ranks(place, PrefixStore("work", board))
    finally:
        distributed.destroy_process_group()
