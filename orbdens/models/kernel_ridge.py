"""Kernel ridge regression by scikit-learn, its hyper-parameters chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError

Name = TypeVar("Name")

FOLDS = 5
"""Parts of the training data, each of which is predicted from the others."""


class Chosen(NamedTuple, Generic[Name]):
    """The kernel and ridge with the smallest error in cross-validation, and the dual coefficients of all data.

    Attributes:
        name: of the kernel.
        ridge: added to its diagonal.
        error: in cross-validation, as ``loss`` measured it.
        dual: [n, n_targets]; a prediction is the kernel with the training data times this.
    """

    name: Name
    ridge: float
    error: float
    dual: NDArray[np.float64]


def gaussian(squared_distances: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """exp(−d² / 2 length²)."""
    result: NDArray[np.float64] = np.exp(-squared_distances / (2 * length**2))
    return result


def choose(
    kernels: Mapping[Name, NDArray[np.float64]],
    targets: NDArray[np.float64],
    ridges: Sequence[float],
    loss: Callable[[NDArray[np.float64]], float],
    seed: int,
) -> Chosen[Name]:
    """Try all kernels and ridges.

    Args:
        kernels: between the training data [n, n], by any name.
        targets: [n, n_targets].
        ridges: to try.
        loss: error of predictions [n, n_targets] of the training data, each made without its own fold.
        seed: of the folds.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.model_selection import KFold, cross_val_predict
    except ImportError:
        raise UserError("kernel ridge regression needs scikit-learn: pip install 'orbdens[kernels]'") from None
    folds = KFold(min(FOLDS, len(targets)), shuffle=True, random_state=seed)

    def regression(ridge: float) -> Any:
        return KernelRidge(kernel="precomputed", alpha=ridge)

    errors = {
        (name, ridge): loss(cross_val_predict(regression(ridge), kernel, targets, cv=folds))
        for name, kernel in kernels.items()
        for ridge in ridges
    }
    name, ridge = min(errors, key=lambda tried: errors[tried])
    dual = regression(ridge).fit(kernels[name], targets).dual_coef_
    return Chosen(name, ridge, errors[name, ridge], dual)
