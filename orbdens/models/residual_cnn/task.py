"""How the residual CNN learns."""

from __future__ import annotations

from orbdens.models.grid_task import GridTask
from orbdens.models.residual_cnn.model import ResidualModel


class ResidualTask(GridTask[ResidualModel]):
    """As every network on a grid."""
