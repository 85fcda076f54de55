"""Which records a run learns from, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from orbdens.config import DataConfig
from orbdens.errors import UserError
from orbdens.models.task import Stage
from orbdens.sampling import evenly_spaced
from orbdens.store import Store
from orbdens.training.ranks import Ranks

AHEAD = 4
"""Batches that are made known before they come."""


def splits_of(store: Store, config: DataConfig) -> tuple[list[str], list[str]]:
    """Keys to train on and keys to validate on.

    Without a named validation split, ``n_validation`` evenly spaced structures of the training split are held out.

    Raises:
        UserError: an unknown split, or nothing left to train on.
    """
    train = store.keys(config.train_split)[: config.n_train]
    if config.validation_split is not None:
        validation = store.keys(config.validation_split)
        validation = evenly_spaced(validation, config.n_validation)
    else:
        validation = evenly_spaced(train, config.n_validation)
        held_out = set(validation)
        train = [key for key in train if key not in held_out]
    if not train or not validation:
        raise UserError(
            f"split '{config.train_split}' has too few structures to train on: {len(train)} are left beside "
            f"{len(validation)} for validation (options data.n_train and data.n_validation)"
        )
    return train, validation


class Draw(NamedTuple):
    """One example of a batch: a record, the seed of its randomness, and the index of the stage it is for."""

    key: str
    seed: tuple[int, ...]
    stage: int


class Step(NamedTuple):
    """A batch, how many examples are in it, and the index of the stage whose loss it is for."""

    stage: int
    batch: Any
    n: int


class Examples(Dataset[Any]):
    """Training examples of the stages of a task, addressed by ``Draw``."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages

    def __getitem__(self, draw: Draw) -> tuple[int, Any]:
        return draw.stage, self.stages[draw.stage].example(draw.key, np.random.default_rng(draw.seed))

    def collate(self, examples: list[tuple[int, Any]]) -> Step:
        """One batch; all its examples are of one stage."""
        index = examples[0][0]
        return Step(index, self.stages[index].collate([example for _, example in examples]), len(examples))


class EndlessBatches(Sampler[list[Draw]]):
    """Batches without end, shuffled anew each epoch. Batch number ``step`` depends on the seed and ``step`` alone.

    So a run that is resumed at a step sees what it would have seen, and processes that share batches agree on them.

    Args:
        keys: keys of all records.
        batch_size: records a batch.
        seed: seed of order and examples.
        start: step of the first batch.
        stage_at: index of the stage at a step.
        ranks: who shares each batch; what comes is the part of this process.
        expect: told of the index of the present stage and of the keys of each batch, ``AHEAD`` batches before it comes.
    """

    def __init__(
        self,
        keys: Sequence[str],
        batch_size: int,
        seed: int,
        start: int,
        stage_at: Callable[[int], int],
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
        expect: Callable[[int, list[str]], None] = lambda stage, keys: None,
    ) -> None:
        self.keys = list(keys)
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.stage_at = stage_at
        self.ranks = ranks
        self.expect = expect
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __iter__(self) -> Iterator[list[Draw]]:
        known = self.start
        for step in count(self.start):
            stage = self.stage_at(step)
            while known <= step + AHEAD:
                self.expect(stage, [key for _, key in self._places(known)])
                known += 1
            yield [Draw(key, (self.seed, position), stage) for position, key in self._places(step)]

    def _places(self, step: int) -> list[tuple[int, str]]:
        """Places in the endless order of records, and keys there, of this process's part of a batch."""
        positions = self.ranks.share(range(step * self.batch_size, (step + 1) * self.batch_size))
        n = len(self.keys)
        return [(position, self.keys[self._order(position // n)[position % n]]) for position in positions]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.keys))
