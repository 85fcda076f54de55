"""Points where something is asked for: checked before anything is computed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from orbdens.errors import UserError


def checked_points(points: ArrayLike) -> NDArray[np.float64]:
    """Points in Å as float64 [n_points, 3].

    Raises:
        UserError: they have another shape, or a coordinate is not a finite number.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError("expected points as numbers of shape [n_points, 3], but got something else") from None
    _check_shape(array.shape)
    _check_finite(np.isfinite(array))
    return array


def checked_tensor(points: Tensor) -> Tensor:
    """Points in Å [n_points, 3] as they are, without their history.

    Raises:
        UserError: as ``checked_points``, or they are no real numbers.
    """
    if points.is_complex() or points.dtype == torch.bool:
        raise UserError(f"expected points as real numbers, but got a tensor of {points.dtype}")
    _check_shape(points.shape)
    places = points.detach()
    finite = places.isfinite()
    if not bool(finite.all()):
        _check_finite(finite.cpu().numpy())
    return places


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[1] != 3:
        raise UserError(f"expected points of shape [n_points, 3], but got {list(shape)}")


def _check_finite(finite: NDArray[np.bool_]) -> None:
    """Raise UserError that names the first point with a coordinate which is not finite [n_points, 3]."""
    bad = np.flatnonzero(~finite.all(axis=1))
    if len(bad):
        raise UserError(f"the coordinates of point {bad[0] + 1} of {len(finite)} are not finite numbers")
