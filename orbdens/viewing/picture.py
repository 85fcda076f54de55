"""A scene as a PNG picture, by casting rays through its grid: no browser and no graphics card is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, map_coordinates

from orbdens.evaluation.pictures import STYLE, finished, new_figure
from orbdens.viewing.page import LESS, atom_colour, atom_radius, bonds
from orbdens.viewing.scene import LEVELS, Scene, Show

WIDTH, HEIGHT = 1000, 750
"""Pixels of the molecule's part of a picture."""

STEP = 0.2
"""Å between the places of a ray; where it crosses the surface is interpolated."""

TILT = (-0.35, 0.45)
"""Radians by which the molecule is turned about the picture's upright and level axis, as the page has it."""

EDGE = 2.2
"""Å around the atoms."""

OPACITY = {"density": 0.5, "potential": 0.78, "deformation": 0.5, "difference": 0.5}
STICK = 0.11
"""Å; radius of the sticks between atoms."""

PLAIN, MORE, FEWER = to_rgb("#56b4e9"), to_rgb("#c0392b"), to_rgb("#2166ac")
LIGHT, SHINE = np.array([-0.35, 0.55, 0.8]) / 1.029, np.array([-0.18, 0.3, 1.0]) / 1.059

Array = NDArray[np.float64]


def png(scene: Scene, show: Show = "density") -> bytes:
    """A picture of a scene.

    Args:
        scene: what is shown.
        show: what of it.

    Raises:
        UserError: the scene has no such thing.
    """
    scene.check(show)
    field = "density" if show == "potential" else show
    rays = _Rays(scene)
    colours, depths = rays.atoms()
    layers: list[tuple[Array, Array, Array]] = []
    largest = 0.0
    for sign, colour in ((1, PLAIN if field == "density" else MORE), (-1, FEWER)):
        if sign < 0 and field == "density":
            continue
        places, there, normals = rays.surface(scene.fields[field] * sign, LEVELS[field])
        tint = np.broadcast_to(np.array(colour), (*there.shape, 3))
        if show == "potential" and scene.potential is not None:
            values = map_coordinates(scene.potential, (places[there] / (2 * scene.spacing)).T, order=1, mode="nearest")
            largest = float(max(1.0, np.percentile(np.abs(values), 98))) if len(values) else 1.0
            tint = np.zeros((*there.shape, 3))
            tint[there] = _potential_colours(largest).to_rgba(values)[:, :3]
        depth = np.where(there, rays.depth_of(places), -np.inf)
        alpha = np.where(there, 1 + (OPACITY[show] - 1) * np.abs(normals[..., 2]) ** 1.2, 0.0)
        layers.append((_lit(tint, normals), depth, alpha))
    return _drawn(scene, show, _composed(colours, depths, layers), largest)


class _Rays:
    """Parallel rays through a scene along the axis that looks out of the picture."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        (a, b), (c, d) = np.cos(TILT), np.sin(TILT)
        upright = np.array([[a, 0, c], [0, 1, 0], [-c, 0, a]])
        level = np.array([[1, 0, 0], [0, b, -d], [0, d, b]])
        self.turn = level @ upright
        self.centre = (scene.positions.min(axis=0) + scene.positions.max(axis=0)) / 2
        local = (scene.positions - self.centre) @ self.turn.T
        low, high = local.min(axis=0) - EDGE, local.max(axis=0) + EDGE
        self.pixel = max((high - low)[:2] / (WIDTH, HEIGHT))
        self.middle = (low + high) / 2
        self.shape = (WIDTH, HEIGHT, int(np.ceil((high[2] - low[2]) / STEP)) + 1)
        self.steps = np.array([self.pixel, self.pixel, -STEP])  # the first place of a ray is the nearest
        self.first = self.middle + (np.array(self.shape) - 1) / 2 * [-self.pixel, -self.pixel, STEP]

    def surface(self, values: NDArray[np.float32], level: float) -> tuple[Array, NDArray[np.bool_], Array]:
        """Where rays first meet values of a level: places from the grid's first point (Å), whether they do, normals."""
        spacing = self.scene.spacing
        matrix = (self.turn.T * self.steps) / spacing
        offset = (self.first @ self.turn + self.centre) / spacing
        along = affine_transform(values, matrix, offset, self.shape, order=1, output=np.float32)
        inside = along >= level
        crossing = inside.argmax(axis=2)
        there = inside.any(axis=2) & (crossing > 0)
        x, y = np.nonzero(there)
        after = crossing[there]
        outer, inner = along[x, y, after - 1], along[x, y, after]
        depth = after - (inner - level) / (inner - outer)
        index = np.stack([x, y, depth], axis=1)
        places, normals = np.zeros((*there.shape, 3)), np.zeros((*there.shape, 3))
        places[there] = index @ matrix.T * spacing + offset * spacing
        slopes = [
            map_coordinates(slope, (places[there] / spacing).T, order=1, mode="nearest")
            for slope in np.gradient(values)
        ]
        outward = -np.stack(slopes, axis=1) @ self.turn.T
        normals[there] = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-30)
        return places, there, normals

    def depth_of(self, places: Array) -> Array:
        """Towards the viewer, Å."""
        depth: Array = (places - self.centre) @ self.turn[2]
        return depth

    def atoms(self) -> tuple[Array, Array]:
        """Balls and sticks: colours [WIDTH, HEIGHT, 3] and depth in Å, minus infinity where there are none."""
        scene = self.scene
        colours, depths = np.ones((WIDTH, HEIGHT, 3)), np.full((WIDTH, HEIGHT), -np.inf)
        local = (scene.positions - self.centre) @ self.turn.T
        tints = [np.array(to_rgb(atom_colour(z))) for z in scene.structure.numbers]
        for i, j in bonds(scene):
            length = float(np.linalg.norm(local[j] - local[i]))
            for share in np.linspace(0, 1, int(length / 0.03) + 2):
                self._ball(
                    colours, depths, local[i] + share * (local[j] - local[i]), STICK, tints[i if share < 0.5 else j]
                )
        for place, z, tint in zip(local, scene.structure.numbers, tints, strict=True):
            self._ball(colours, depths, place, atom_radius(z), tint)
        return colours, depths

    def _ball(self, colours: Array, depths: Array, place: Array, radius: float, tint: Array) -> None:
        centre = (place[:2] - self.first[:2]) / self.pixel
        low = np.maximum(np.floor(centre - radius / self.pixel).astype(int), 0)
        high = np.minimum(np.ceil(centre + radius / self.pixel).astype(int) + 1, (WIDTH, HEIGHT))
        x, y = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
        across = np.stack([x - centre[0], y - centre[1]], axis=-1) * self.pixel / radius
        square = (across**2).sum(axis=-1)
        upward = np.sqrt(np.maximum(1 - square, 0))
        depth = np.where(square < 1, place[2] + radius * upward, -np.inf)
        here = (slice(low[0], high[0]), slice(low[1], high[1]))
        nearer = depth > depths[here]
        lit = _lit(np.broadcast_to(tint, (*square.shape, 3)), np.concatenate([across, upward[..., None]], axis=-1))
        colours[here][nearer], depths[here][nearer] = lit[nearer], depth[nearer]


def _lit(tint: Array, normals: Array) -> Array:
    """Colours in the light of the page."""
    light = 0.58 + 0.46 * np.maximum(normals @ LIGHT, 0)
    shine = np.maximum(normals @ SHINE, 0) ** 40
    lit: Array = np.minimum(tint * light[..., None] + 0.28 * shine[..., None], 1)
    return lit


def _composed(colours: Array, depths: Array, layers: list[tuple[Array, Array, Array]]) -> Array:
    """Surfaces over what lies behind them, the nearer one last."""
    image = colours
    if len(layers) == 2:
        swap = layers[0][1] > layers[1][1]  # where the first surface is the nearer one
        (c0, d0, a0), (c1, d1, a1) = layers
        layers = [
            (np.where(swap[..., None], c1, c0), np.where(swap, d1, d0), np.where(swap, a1, a0)),
            (np.where(swap[..., None], c0, c1), np.where(swap, d0, d1), np.where(swap, a0, a1)),
        ]
    for colour, depth, alpha in layers:
        seen = np.where(depth > depths, alpha, 0.0)[..., None]
        image = seen * colour + (1 - seen) * image
    return image


def _potential_colours(largest: float) -> Any:
    return ScalarMappable(Normalize(-largest, largest), "RdBu")


def _drawn(scene: Scene, show: Show, image: Array, largest: float) -> bytes:
    """The picture with what stands around it."""
    level = LEVELS["density" if show == "potential" else show]
    what = {
        "density": f"density of {level:g} e/Å³",
        "potential": f"potential where the density is {level:g} e/Å³",
        "deformation": f"red: {level:g} e/Å³ more than {LESS['deformation']}; blue: less",
        "difference": f"red: {level:g} e/Å³ more than {LESS['difference']}; blue: less",
    }[show]
    expected = "" if scene.expected_error is None else f", expected error {scene.expected_error:.2f} %"
    with rc_context(STYLE):
        figure = new_figure(8.4, 6.8)
        axes = figure.add_subplot()
        axes.imshow(image.transpose(1, 0, 2), origin="lower", interpolation="bilinear")
        axes.axis("off")
        axes.set_title(f"{scene.name} ({scene.structure.formula}{expected})\n{what}", fontweight="normal")
        if show == "potential":
            bar = figure.colorbar(_potential_colours(largest), ax=axes, shrink=0.6, aspect=24, pad=0.01)
            bar.set_label("potential [kcal/mol per e]")
        return finished(figure, what).png
