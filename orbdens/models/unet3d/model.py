"""The 3D U-Net of the project's origin: Gaussians on a grid in, the density on that grid out.

As its authors describe it: one Gaussian channel per atom (or per element), a mixing layer, encoders of convolution,
batch norm, ReLU and max-pooling, decoders with up-convolutions and skip connections, a plain last layer, L2 loss. It is
not equivariant and gets no augmentation: molecules are learnt and predicted in the orientation they come in. Nothing
corrects its electron count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from orbdens.density import Density, GridDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.models.interface import DensityModel
from orbdens.models.task import GradientTask, Stage, TrainingData, states_of
from orbdens.models.unet3d.options import UNetConfig, UNetRun
from orbdens.sampling import evenly_spaced
from orbdens.store import Store
from orbdens.store.cache import TensorCache
from orbdens.structure import Structure

SCALE_RECORDS = 16
"""Training records whose densities set the scale of in- and output."""

LABELS_AT_ONCE = 16
"""Label densities computed between two writes to the cache."""

POINTS_AT_ONCE = 500_000
"""Grid points of the structures that go through the network together in prediction; one structure is never split."""


class UNetBatch(NamedTuple):
    """Structures on grids, padded at their ends to the largest; densities in units of the model's scale.

    Attributes:
        inputs: float32 [n_structures, n_channels, nx, ny, nz].
        labels: float32 [n_structures, nx, ny, nz].
        mask: 1 on a structure's own grid and 0 on padding, float32 [n_structures, 1, nx, ny, nz]; None without padding.
    """

    inputs: Tensor
    labels: Tensor
    mask: Tensor | None


class UNetModel(DensityModel):
    """Predicts values on a grid.

    Facts: ``valence_electrons``, ``channels`` (a symbol per input channel) and ``scale`` (rms of the training densities
    on their grids, e/Å³).

    Works on molecules only: a periodic structure is a ``UserError``.
    """

    equivariant: ClassVar[bool] = False
    config: UNetConfig

    def __init__(self, config: UNetConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.network = UNet3d(len(facts["channels"]), config.features, config.depth)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        """Densities on the network's own grids, as they come out of it; nothing corrects their electron counts.

        Raises:
            UserError: a periodic structure or, with a channel per atom, other atoms or another order than in training.
        """
        grids = [network_grid(structure, self.config) for structure in structures]
        same_shape: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for i, grid in enumerate(grids):
            same_shape[grid.shape].append(i)
        fields: dict[int, Density] = {}
        for shape, members in same_shape.items():
            step = max(1, POINTS_AT_ONCE // math.prod(shape))
            for start in range(0, len(members), step):
                chunk = members[start : start + step]
                inputs = torch.stack([self.inputs(structures[i], grids[i]) for i in chunk]).to(self.device)
                values = self.network(inputs, None).detach().cpu().numpy()
                for i, value in zip(chunk, values, strict=True):
                    fields[i] = GridDensity(
                        structures[i],
                        grids[i],
                        value * np.float32(self.facts["scale"]),
                        self.warnings(structures[i]),
                        self.facts["valence_electrons"],
                    )
        return [fields[i] for i in range(len(structures))]

    def inputs(self, structure: Structure, grid: Grid) -> Tensor:
        """Atoms as Gaussians that hold their valence electrons, summed by channel, float32 [n_channels, nx, ny, nz].

        In units of the scale. Gaussians are products of one factor per axis of the grid.
        """
        symbols = structure.symbols
        channels: list[str] = self.facts["channels"]
        if self.config.channels_per == "atom" and symbols != channels:
            raise UserError(
                f"this U-Net has a channel for each of the atoms {', '.join(channels)} in this order, "
                f"not for {', '.join(symbols)}"
            )
        width = self.config.gaussian_width
        factors: list[NDArray[np.float32]] = []
        for axis in range(3):
            points = grid.origin[axis] + grid.steps[axis, axis] * np.arange(grid.shape[axis])
            distances = (points - structure.positions[:, axis, None]) / width
            factors.append((np.exp(-0.5 * distances**2) / (width * math.sqrt(2 * math.pi))).astype(np.float32))
        electrons = np.array([self.facts["valence_electrons"][symbol] for symbol in symbols], dtype=np.float32)
        factors[0] *= (electrons / np.float32(self.facts["scale"]))[:, None]
        inputs = np.empty((len(channels), *grid.shape), dtype=np.float32)
        for channel, name in enumerate(channels):
            of_element = [atom for atom, symbol in enumerate(symbols) if symbol == name]
            atoms = [channel] if self.config.channels_per == "atom" else of_element
            x, y, z = (factor[atoms] for factor in factors)
            plane = (x[:, :, None] * y[:, None, :]).reshape(len(atoms), grid.shape[0] * grid.shape[1])
            inputs[channel] = (plane.T @ z).reshape(grid.shape)
        return torch.from_numpy(inputs)


class UNetTask(GradientTask[UNetModel], Stage):
    """Learns label densities on the network's own grids, the same in every epoch: one stage from first to last."""

    begins = 0.0

    @classmethod
    def facts(cls, config: UNetRun, data: TrainingData) -> dict[str, Any]:
        """Elements or composition, and the scale, of the records.

        Raises:
            UserError: ``channels_per: atom`` and two compositions or orders of atoms, or a periodic structure.
        """
        store, keys, options = data.store, data.keys, config.model
        structures = [store.structure(key) for key in keys]
        first = structures[0].numbers
        elements: set[int] = set()
        for key, structure in zip(keys, structures, strict=True):
            numbers = structure.numbers
            elements.update(numbers.tolist())
            if options.channels_per == "atom" and not np.array_equal(numbers, first):
                raise UserError(
                    f"records '{keys[0]}' and '{key}' differ in composition or order of atoms "
                    f"({_listed(first)}; {_listed(numbers)}): set model.channels_per to element"
                )
        symbols = [chemical_symbols[z] for z in sorted(elements)]
        sample = evenly_spaced(keys, SCALE_RECORDS)
        squares = [np.square(_label(store, key, options), dtype=np.float64).mean() for key in sample]
        return {
            "valence_electrons": {symbol: store.manifest.valence_electrons[symbol] for symbol in symbols},
            "channels": [chemical_symbols[z] for z in first] if options.channels_per == "atom" else symbols,
            "states": states_of(structures),
            "scale": float(np.sqrt(np.mean(squares))),
        }

    def __init__(self, model: UNetModel, config: UNetRun, data: TrainingData, *, fresh: bool = True) -> None:
        self.model, self.store, self.stages = model, data.store, [self]
        for module in model.modules():
            if isinstance(module, nn.Dropout3d):
                module.p = config.objective.dropout
        options, keys = model.config, data.keys
        name = f"grid-labels-{options.spacing:g}-{options.margin:g}-{2**options.depth}"
        self.labels = TensorCache(data.cache / name, data.store.manifest.source())
        missing = self.labels.missing(keys)
        for start in range(0, len(missing), LABELS_AT_ONCE):
            some = missing[start : start + LABELS_AT_ONCE]
            values = {key: torch.from_numpy(_label(data.store, key, options)) for key in some}
            self.labels.put_many({key: {"density": value} for key, value in values.items()})
            data.progress("label densities on grids", len(keys) - len(missing) + start + len(some), len(keys))

    def example(self, key: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [n_channels, nx, ny, nz] and labels [nx, ny, nz] in units of the scale; ``rng`` is not used."""
        structure = self.store.structure(key)
        labels = self.labels.get(key)["density"] / self.model.facts["scale"]
        return self.model.inputs(structure, network_grid(structure, self.model.config)), labels

    def collate(self, examples: list[tuple[Tensor, Tensor]]) -> UNetBatch:
        shapes = [labels.shape for _, labels in examples]
        largest = torch.Size(max(lengths) for lengths in zip(*shapes, strict=True))
        mask = None
        if any(shape != largest for shape in shapes):
            mask = torch.stack([_padded(torch.ones(1, *shape), largest) for shape in shapes])
        return UNetBatch(
            torch.stack([_padded(inputs, largest) for inputs, _ in examples]),
            torch.stack([_padded(labels, largest) for _, labels in examples]),
            mask,
        )

    def loss(self, batch: UNetBatch) -> Tensor:
        """Mean squared error over the points of each structure's grid, in units of the scale, mean over structures."""
        prediction: Tensor = self.model.network(batch.inputs, batch.mask)
        squares = (prediction - batch.labels).square().flatten(1)
        if batch.mask is None:
            return squares.mean()
        weight = batch.mask.flatten(1)
        return ((squares * weight).sum(dim=1) / weight.sum(dim=1)).mean()


class UNet3d(nn.Module):
    """[n, n_channels, nx, ny, nz] to [n, nx, ny, nz]; nx, ny and nz are multiples of ``2**depth``.

    Args:
        n_channels: input channels.
        features: feature maps after the mixing layer and in the first encoder; twice as many after each pooling.
        depth: how often the grid is halved.
    """

    def __init__(self, n_channels: int, features: int, depth: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(depth + 1)]
        upwards = range(depth - 1, -1, -1)
        self.mixing = nn.Conv3d(n_channels, features, kernel_size=1)
        self.encoders = nn.ModuleList(
            _TwoConvolutions(widths[max(level - 1, 0)], widths[level]) for level in range(depth + 1)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(widths[level + 1], widths[level], kernel_size=2, stride=2) for level in upwards
        )
        self.decoders = nn.ModuleList(_TwoConvolutions(2 * widths[level], widths[level]) for level in upwards)
        self.last = nn.Conv3d(features, 1, kernel_size=1)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Density on each point.

        Args:
            inputs: float [n, n_channels, nx, ny, nz].
            mask: float [n, 1, nx, ny, nz], 1 on each structure's own grid, the lengths of which are multiples of
                ``2**depth``, and 0 elsewhere. Features are kept at zero there, so that padding of a ragged batch acts
                like the zero padding of the convolutions (but in the batch statistics). None if there is no padding.

        Returns:
            float32 [n, nx, ny, nz].
        """
        masks = [mask]
        for _ in self.up:
            masks.append(None if mask is None else masks[-1][:, :, ::2, ::2, ::2])  # type: ignore[index]
        x = _masked(self.mixing(inputs.contiguous(memory_format=torch.channels_last_3d)), mask)
        skipped: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            if level > 0:
                skipped.append(x)
                x = functional.max_pool3d(x, 2)
            x = encoder(x, masks[level])
        for level, up, decoder in zip(range(len(self.up) - 1, -1, -1), self.up, self.decoders, strict=True):
            x = decoder(torch.cat([skipped[level], _masked(up(x), masks[level])], dim=1), masks[level])
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round the peaks at nuclei
            density: Tensor = self.last(x.float())
        return density[:, 0]


class _TwoConvolutions(nn.Module):
    """(3x3x3 convolution, batch norm, ReLU) twice, then dropout of whole feature maps in training."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(n, n_out, kernel_size=3, padding=1, bias=False) for n in (n_in, n_out)
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(n_out) for _ in range(2))
        self.dropout = nn.Dropout3d(0.0)  # its rate is set by the task

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = _masked(functional.relu(norm(convolution(x)), inplace=True), mask)
        dropped: Tensor = self.dropout(x)
        return dropped


def network_grid(structure: Structure, config: UNetConfig) -> Grid:
    """``Grid.around`` a molecule, widened on both sides by whole steps to lengths that can be halved ``depth`` times.

    Raises:
        UserError: the structure is periodic.
    """
    if structure.periodic:
        raise UserError("the U-Net works on molecules, but this structure is periodic")
    grid = Grid.around(structure, config.spacing, config.margin)
    multiple = 2**config.depth
    shape = tuple(-(-n // multiple) * multiple for n in grid.shape)
    before = np.array([(wide - n) // 2 for wide, n in zip(shape, grid.shape, strict=True)])
    return Grid(grid.origin - before @ grid.steps, grid.steps, (shape[0], shape[1], shape[2]))


def _label(store: Store, key: str, config: UNetConfig) -> NDArray[np.float32]:
    """Label density on the network's grid, e/Å³; that of a grid record is interpolated, and zero outside its grid."""
    label = stored_density(store, key)
    return label.on(network_grid(label.structure, config))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _padded(x: Tensor, shape: torch.Size) -> Tensor:
    """Zeros after the end of each of the last three axes, up to ``shape``."""
    ends = [wide - n for wide, n in zip(shape, x.shape[-3:], strict=True)]
    return functional.pad(x, [0, ends[2], 0, ends[1], 0, ends[0]])


def _listed(numbers: NDArray[np.int64]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)
