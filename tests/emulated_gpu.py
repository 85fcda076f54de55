"""A CUDA device that is not there: tensors say ``cuda:0`` and lie in the memory of the processor.

What a GPU would refuse is refused here, so that such mistakes show without one: tensors of two devices in one
operation, and a tensor of the device taken for an array. Values come from the operations of the processor. Derivatives
are beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from triton.runtime.interpreter import GridExecutor

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")

MOVES = {"copy_", "_to_copy"}
"""Operations whose tensors may lie on two devices."""

INDICES = {"index", "index_put", "index_put_", "_unsafe_index", "__getitem__", "__setitem__"}
"""Operations that take indices from the processor."""

MADE = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
"""Functions that make tensors of numbers."""

NO_GPU = "not linked with support for cuda"
"""What torch says where it wants a GPU itself, before it comes to any operation."""


class OnDevice(Tensor):
    """A tensor that says it is on the device, and the one that holds its values."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=CUDA,
        )
        made.values = values
        return made

    def __repr__(self, **options: Any) -> str:
        return f"OnDevice({self.values!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _by_processor(function, function.overloadpacket.__name__, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _by_processor(function, function.overloadpacket.__name__, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Those of torch's functions that want a GPU before they come to any operation."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in MADE:
            return _made(function, args, kwargs)
        if function is Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].values.tolist()
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            if NO_GPU not in str(error):
                raise
        return _by_processor(function, function.__name__, args, kwargs)


def _made(function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    device = kwargs.pop("device", None)
    if function is Tensor.new_tensor:
        device = args[0].device if device is None else device
        function, args, kwargs = torch.tensor, args[1:], {"dtype": args[0].dtype} | kwargs
    if device is not None and torch.device(device).type == "cuda":
        made: Tensor = function(*args, **kwargs).to(CUDA)
        return made
    return function(*args, **kwargs | ({} if device is None else {"device": device}))


def _by_processor(function: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation by the processor, its result on the device where a GPU's would be."""
    ours = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, OnDevice)]
    target = CUDA if ours else CPU
    if ours and name not in MOVES:
        _check(name, args, kwargs)
    if kwargs.get("device") is not None:
        target, kwargs = torch.device(kwargs["device"]), {**kwargs, "device": CPU}
    elif name in MOVES:
        target = args[0].device
    inner_args, inner_kwargs = tree_map_only(OnDevice, lambda one: one.values, (args, kwargs))
    result = function(*inner_args, **inner_kwargs)
    if target.type != "cuda":
        return result
    known = {id(one.values): one for one in ours}

    def placed(value: Any) -> Any:
        plain = isinstance(value, Tensor) and not isinstance(value, OnDevice)
        return known.get(id(value), OnDevice(value)) if plain else value

    return tree_map(placed, result)


def _check(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise RuntimeError where a GPU would: a tensor of the processor among those of the device."""
    looked_at = (args, kwargs)
    if name in INDICES and isinstance(args[0], OnDevice):
        looked_at = (args[0], args[2:] if name != "__setitem__" else ())
    for value in tree_flatten(looked_at)[0]:
        if isinstance(value, Tensor) and not isinstance(value, OnDevice) and value.dim() > 0:
            raise RuntimeError(f"expected all tensors to be on the same device, but {name} got cuda:0 and cpu")


_launch = GridExecutor.__call__


def _launched(grid: GridExecutor, *args: Any, **kwargs: Any) -> Any:
    """Triton's interpreter works on the memory of the processor."""
    values = tree_map_only(OnDevice, lambda one: one.values, (args, kwargs))
    return _launch(grid, *values[0], **values[1])


@contextmanager
def emulated_gpu() -> Iterator[None]:
    """Within it torch finds one CUDA device, cuda:0. Outside, what was moved there is of no use."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters become tensors of the device
    try:
        with (
            patch.object(torch.cuda, "_lazy_init", lambda: None),
            patch.object(torch.cuda, "is_available", lambda: True),
            patch.object(torch.cuda, "device_count", lambda: 1),
            patch.object(torch.cuda, "current_device", lambda: 0),
            patch.object(torch.cuda, "_exchange_device", lambda index: 0),
            patch.object(torch.cuda, "_maybe_exchange_device", lambda index: 0),
            patch.object(GridExecutor, "__call__", _launched),
            torch.no_grad(),
            _Functions(),
            _Operations(),
        ):
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
