"""Averaged weights: the same as torch's own way of averaging all tensors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from orbdens.training.averaging import Averaging

DECAY = 0.9


class _Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("constant", torch.ones(3))
        self.register_buffer("counts", torch.ones(3, dtype=torch.long))


def test_averages_are_those_of_torch() -> None:
    torch.manual_seed(0)
    module = _Module()
    trainer: Any = SimpleNamespace(global_step=0)
    ours = Averaging(DECAY)
    ours.setup(trainer, module, "fit")
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    for step in range(1, 6):
        optimizer.zero_grad()
        module.norm(module.linear(torch.randn(7, 4))).square().sum().backward()
        optimizer.step()
        for _ in range(2):  # batches of one step, as when gradients are accumulated, count once
            trainer.global_step = step
            ours.on_train_batch_end(trainer, module, None, None, 0)
        theirs.update_parameters(module)
    average = ours._average_model
    assert average is not None and average.n_averaged == theirs.n_averaged == 5
    for name, expected in theirs.module.state_dict().items():
        if name != "norm.num_batches_tracked":  # torch averages a count; nothing reads it
            torch.testing.assert_close(average.module.state_dict()[name], expected)
    assert not torch.equal(average.module.linear.weight, module.linear.weight)
    assert not torch.equal(average.module.norm.running_mean, module.norm.running_mean)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_decays_at_the_ends(decay: float) -> None:
    module = _Module()
    trainer: Any = SimpleNamespace(global_step=1)
    averaging = Averaging(decay)
    averaging.setup(trainer, module, "fit")
    averaging.on_train_batch_end(trainer, module, None, None, 0)
    first = module.linear.weight.detach().clone()
    with torch.no_grad():
        module.linear.weight.add_(1.0)
    trainer.global_step = 2
    averaging.on_train_batch_end(trainer, module, None, None, 0)
    average = averaging._average_model
    assert average is not None
    torch.testing.assert_close(average.module.linear.weight, first + (1 - decay))
