"""How a model learns: by gradient steps on batches, or in one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from orbdens.models.interface import DensityModel
from orbdens.progress import Progress
from orbdens.store import Store
from orbdens.structure import Structure

Model = TypeVar("Model", bound=DensityModel)

ErrorsOf = Callable[[Sequence[str]], Sequence[tuple[Structure, NDArray[np.float64]]]]
"""From keys of records to their structures and the errors of their predictions: ∫|ρ̂ − ρ| dr over the space nearest to
each atom, e [n_atoms]."""


@dataclass(frozen=True)
class TrainingData:
    """What there is to learn from.

    Attributes:
        store: where the records are; ``labels.stored_density(store, key)`` is the density of one.
        keys: the records to train on.
        cache: folder for what is dear to compute once per record.
        progress: told what is being done.
        sharers: processes of this machine that train together, each with batches of its own.
    """

    store: Store
    keys: Sequence[str]
    cache: Path
    progress: Progress
    sharers: int = 1


def states_of(structures: Iterable[Structure]) -> list[list[int]]:
    """The fact ``states``: [charge, multiplicity] of training structures, each once."""
    return [list(state) for state in sorted({(s.charge, s.multiplicity) for s in structures})]


class FitTask(ABC, Generic[Model]):
    """A model that is made in one call: promolecules, kernel regressions, anything without gradient steps."""

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, data: TrainingData) -> Model:
        """The finished model.

        Args:
            config: the whole run; its sections ``model`` and ``objective`` are this model's own.
            data: what to learn from.

        Raises:
            UserError: the records will not do.
        """

    @classmethod
    def finish(cls, model: Model, validation: Sequence[str], errors_of: ErrorsOf) -> None:
        """Once after the fit, e.g. to learn what errors to expect; arguments as of ``GradientTask.finish``."""


class Stage(ABC):
    """A part of a run by gradient steps, with examples and a loss of its own.

    Attributes:
        begins: how far the run is when this stage takes over, from 0 to 1.
    """

    begins: float

    def expect(self, keys: Sequence[str]) -> None:  # noqa: B027 (most stages have nothing to prepare)
        """Told of the records of each batch some batches before their examples are asked for, if it comes to that."""

    def close(self) -> None:  # noqa: B027 (as above)
        """Called when the steps are over, however they end."""

    @abstractmethod
    def example(self, key: str, rng: np.random.Generator) -> Any:
        """The training example of a record; all randomness comes from ``rng``."""

    @abstractmethod
    def collate(self, examples: list[Any]) -> Any:
        """Many examples to the batch that ``loss`` takes (anything that Lightning can move to a device)."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Mean loss over the batch, a scalar, of the model this stage was made for."""


class GradientTask(ABC, Generic[Model]):
    """A model that learns by gradient steps, which Lightning runs.

    Attributes:
        model: what learns.
        stages: parts of the run by their beginnings; the first begins at 0.
    """

    model: Model
    stages: Sequence[Stage]

    @classmethod
    @abstractmethod
    def facts(cls, config: Any, data: TrainingData) -> dict[str, Any]:
        """What the model has to know of the training records; ``config`` is the whole run."""

    @abstractmethod
    def __init__(self, model: Model, config: Any, data: TrainingData, *, fresh: bool = True) -> None:
        """Compute targets into the cache and set scales. May be interrupted at any time.

        Args:
            model: a model of this task's kind, with the facts of ``facts`` or those of the model it starts from.
            config: the whole run; its section ``objective`` is this task's own.
            data: what to learn from.
            fresh: whether the weights are random; a trained model keeps its scales, to which its weights belong.

        Raises:
            UserError: the records, or the model to start from, will not do.
        """

    def stage_at(self, fraction: float) -> int:
        """Index of the stage for a step when the run has come this far (0 to 1)."""
        return max(i for i, stage in enumerate(self.stages) if stage.begins <= fraction)

    def finish(self, validation: Sequence[str], errors_of: ErrorsOf) -> None:
        """Once after the last step, e.g. to learn what errors to expect.

        Args:
            validation: keys of records that were not trained on.
            errors_of: predicts records as the model now does.
        """
