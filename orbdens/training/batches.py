"""From records to what models learn from: label densities, splits, and the order of training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from orbdens.config import DataConfig
from orbdens.errors import UserError
from orbdens.sampling import evenly_spaced
from orbdens.store import Store

if TYPE_CHECKING:
    from orbdens.models.interface import DensityModel


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


Draw = tuple[str, tuple[int, ...], float]
"""A key, the seed of the chance its example may use, and how far the run is, from 0 to 1."""


class Examples(Dataset[Any]):
    """Training examples of a model, addressed by ``Draw``."""

    def __init__(self, model: DensityModel, store: Store) -> None:
        self.model = model
        self.store = store

    def __getitem__(self, draw: Draw) -> Any:
        key, seed, fraction = draw
        return self.model.example(key, self.store[key], np.random.default_rng(seed), fraction)


class EndlessBatches(Sampler[list[Draw]]):
    """Batches without end, shuffled anew each epoch. Batch number ``step`` depends on the seed and ``step`` alone.

    So a run that is resumed at a step sees what it would have seen. ``fraction`` tells how far the run is at a step.
    """

    def __init__(
        self, keys: Sequence[str], batch_size: int, seed: int, start: int, fraction: Callable[[int], float]
    ) -> None:
        self.keys = list(keys)
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.fraction = fraction

    def __iter__(self) -> Iterator[list[Draw]]:
        n = len(self.keys)
        epoch, order = -1, np.empty(0, dtype=np.int64)
        step = self.start
        while True:
            batch: list[Draw] = []
            fraction = self.fraction(step)
            for position in range(step * self.batch_size, (step + 1) * self.batch_size):
                if position // n != epoch:
                    epoch = position // n
                    order = np.random.default_rng((self.seed, epoch)).permutation(n)
                batch.append((self.keys[order[position % n]], (self.seed, position), fraction))
            yield batch
            step += 1
