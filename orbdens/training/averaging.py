"""Averaged weights, which a run ends with."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Averaging(WeightAveraging):
    """An exponential moving average: Lightning's, but for its way of going through all tensors after each step.

    That takes 4 ms of Python for a network of hundreds of tensors, most of them buffers that no step changes.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.decay = decay
        self._changing: tuple[list[Tensor], list[Tensor]] | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        average = self._average_model
        assert average is not None
        if not average.n_averaged:  # the first step begins with a copy
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            return
        if trainer.global_step > self._latest_update_step:
            if self._changing is None:
                self._changing = _changing(average.module), _changing(pl_module)
            torch._foreach_lerp_(*self._changing, 1 - self.decay)
            average.n_averaged += 1
            self._latest_update_step = trainer.global_step


def _changing(module: nn.Module) -> list[Tensor]:
    """What steps change: parameters, and the statistics of batch norms."""
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm)]
    statistics = [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]
    return [tensor.detach() for tensor in (*module.parameters(), *statistics)]
