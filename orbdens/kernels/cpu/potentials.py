"""The compiled loops for Coulomb potentials and their gradients; formulas: ``orbdens/kernels/potentials.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orbdens.kernels.blocks import BLOCK, morton_order
from orbdens.kernels.boys import STEPS, boys_limit, boys_table
from orbdens.kernels.compiling import cached_njit
from orbdens.kernels.cpu.gradients import add_gradient
from orbdens.kernels.cpu.math import harmonics
from orbdens.kernels.cpu.threads import share

Array = npt.NDArray[np.float64]

_compiled: Any = cached_njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


def potentials(multipoles: Any, positions: Array, points: Array) -> tuple[Array, Array]:
    """Potential [n_points] and gradient [n_points, 3] of ``Multipoles`` on sites [n_sites, 3], all in Å."""
    n_points = len(points)
    values, gradients = np.zeros(n_points), np.zeros((n_points, 3))
    l_max = int(multipoles.group_l.max(initial=0))
    limits = np.array([boys_limit(l) for l in range(l_max + 1)])
    tails = np.array([math.gamma(l + 0.5) / 2 for l in range(l_max + 2)])
    table = boys_table(l_max + 1)
    order = morton_order(np.ascontiguousarray(points), np.array([0, n_points]))
    n_blocks = -(-n_points // BLOCK)
    n_threads = max(1, min(torch.get_num_threads(), n_blocks))
    n_tasks = max(1, min(8 * n_threads, n_blocks))

    def work(task: int) -> None:
        _potentials(
            tuple(multipoles), positions, points, order, table, limits, tails, l_max, task, n_tasks, values, gradients
        )

    share(n_tasks, n_threads, work)
    return values, gradients


@_compiled
def _radial(l: int, exponent: float, d: Any, powers: Any, table: Any, limit: float, tails: Any, out: Any) -> None:
    """F_l(exponent r²) into out[0], -2 exponent F_(l+1) into out[1], for r² in d[3] and r^-(2l+1) in powers."""
    near_tail = tails[l] * exponent ** (-l - 0.5)
    far_tail = tails[l + 1] * exponent ** (-l - 1.5)
    slope = -2.0 * exponent
    for p in range(BLOCK):
        x = exponent * d[3, p]
        if x < limit:
            row = int(x * STEPS + 0.5)
            h = row / STEPS - x
            f = table[row]
            h2, h3, h4, h5 = 1 / 2.0, 1 / 6.0, 1 / 24.0, 1 / 120.0
            out[0, p] = f[l] + h * (
                f[l + 1] + h * (h2 * f[l + 2] + h * (h3 * f[l + 3] + h * (h4 * f[l + 4] + h * h5 * f[l + 5])))
            )
            out[1, p] = slope * (
                f[l + 1]
                + h * (f[l + 2] + h * (h2 * f[l + 3] + h * (h3 * f[l + 4] + h * (h4 * f[l + 5] + h * h5 * f[l + 6]))))
            )
        else:
            out[0, p] = near_tail * powers[p]
            out[1, p] = slope * far_tail * powers[p] / d[3, p]


@_compiled
def _potentials(
    multipoles: Any,
    positions: Any,
    points: Any,
    order: Any,
    table: Any,
    limits: Any,
    tails: Any,
    l_max: int,
    task: int,
    n_tasks: int,
    values: Any,
    gradients: Any,
) -> None:
    """The points of every n_tasks-th block."""
    group_ptr, group_l, primitive_ptr, exponents, row_ptr, sources, moments = multipoles
    n_harmonics = (l_max + 1) ** 2
    d, radial, powers = np.empty((4, BLOCK)), np.empty((2, BLOCK)), np.empty(BLOCK)
    s, angular, slopes = np.empty((n_harmonics, BLOCK)), np.empty((n_harmonics, BLOCK)), np.empty((n_harmonics, BLOCK))
    out, total = np.empty((3, BLOCK)), np.empty(BLOCK)
    for start in range(task * BLOCK, len(order), n_tasks * BLOCK):
        count = min(BLOCK, len(order) - start)
        out[:] = 0.0
        total[:] = 0.0
        for site in range(len(group_ptr) - 1):
            if group_ptr[site] == group_ptr[site + 1]:
                continue
            least = np.inf
            for p in range(BLOCK):
                point = order[start + min(p, count - 1)]
                x = points[point, 0] - positions[site, 0]
                y = points[point, 1] - positions[site, 1]
                z = points[point, 2] - positions[site, 2]
                r2 = x * x + y * y + z * z
                d[0, p], d[1, p], d[2, p], d[3, p] = x, y, z, r2
                least = min(least, r2)
            top = group_l[group_ptr[site + 1] - 1]
            harmonics(top, d, s)
            angular[: (top + 1) ** 2] = 0.0
            slopes[: (top + 1) ** 2] = 0.0
            for group in range(group_ptr[site], group_ptr[site + 1]):
                l = group_l[group]
                for p in range(BLOCK):
                    inverse = 1.0 / d[3, p]
                    power = math.sqrt(inverse)
                    for _ in range(l):
                        power *= inverse
                    powers[p] = power
                first, last = primitive_ptr[group], primitive_ptr[group + 1]
                near = first
                while near < last and exponents[near] * least >= limits[l]:
                    near += 1
                if near > first:  # these act as multipoles everywhere in the block
                    end = row_ptr[near - 1]
                    far = 0.5 * math.gamma(l + 0.5) * exponents[near - 1] ** (-l - 0.5)
                    for m in range(2 * l + 1):
                        moment = moments[end + m] + far * sources[end + m]
                        k = l * l + m
                        for p in range(BLOCK):
                            value = moment * powers[p]
                            angular[k, p] += value
                            slopes[k, p] -= (2 * l + 1) * value / d[3, p]
                for primitive in range(near, last):
                    _radial(l, exponents[primitive], d, powers, table, limits[l], tails, radial)
                    for m in range(2 * l + 1):
                        source = sources[row_ptr[primitive] + m]
                        k = l * l + m
                        for p in range(BLOCK):
                            angular[k, p] += source * radial[0, p]
                            slopes[k, p] += source * radial[1, p]
            add_gradient((top + 1) ** 2, angular, slopes, d, s, out)
            for k in range((top + 1) ** 2):
                for p in range(BLOCK):
                    total[p] += angular[k, p] * s[k, p]
        for p in range(count):
            point = order[start + p]
            values[point] = total[p]
            gradients[point, 0], gradients[point, 1], gradients[point, 2] = out[0, p], out[1, p], out[2, p]
