"""How Lightning spreads a run over the processes that are there."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor, distributed, nn

from orbdens.training.launch import Place

BUCKET = 100
"""MB of gradients that travel together."""


class Environment(ClusterEnvironment):
    """Tells Lightning what ``launch`` found out: one place decides who is who."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise NotImplementedError("the processes have met already")

    @property
    def main_port(self) -> int:
        raise NotImplementedError("the processes have met already")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.rank // self.place.local_size


def strategy_of(name: str, place: Place) -> str | Strategy:
    """Lightning's strategy of that name; ``auto`` is the plain one, or DDP for several processes."""
    if place.size == 1 or name != "auto":
        return name
    # The analytic stage leaves exponents alone. Buffers are the same everywhere: nothing need send them.
    return DDPStrategy(
        find_unused_parameters=True, broadcast_buffers=False, gradient_as_bucket_view=True, bucket_cap_mb=100
    )


class SharedBatchNorm(LayerSync):
    """Batch norms take their statistics over the parts of a batch in all processes, on CPUs too (PyTorch's do not)."""

    def apply(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.__class__ = _SharedBatchNorm3d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, _SharedBatchNorm3d):
                module.__class__ = nn.BatchNorm3d  # type: ignore[assignment]
        return model


class _Sum(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        return _Sum.forward(context, slope)


class _SharedBatchNorm3d(nn.BatchNorm3d):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        own = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        summed = _total(torch.cat([x.sum(_ALL_BUT_CHANNELS), own]))
        n = summed[-1].detach()
        mean = summed[:-1] / n
        centred = x - _of_channels(mean)
        variance = _total(centred.square().sum(_ALL_BUT_CHANNELS)) / n
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
        scale = self.weight / (variance + self.eps).sqrt()
        result: Tensor = centred * _of_channels(scale) + _of_channels(self.bias)
        return result.to(input.dtype)


_ALL_BUT_CHANNELS = (0, 2, 3, 4)


def _total(own: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    return result


def _of_channels(values: Tensor) -> Any:
    return values[None, :, None, None, None]
