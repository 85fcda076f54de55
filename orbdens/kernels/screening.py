"""Where an orbital is too small to count, and the periodic images that reach the points (Numba, float64)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from orbdens.kernels.compiling import cached_njit

Array = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating]
Index = npt.NDArray[np.int64]


@cached_njit(nogil=True)
def radius(l: int, exponent: float, amplitude: float, threshold: float, cutoff: float) -> float:
    """Distance (Å) beyond which ``amplitude * sqrt((2l+1)/4pi) r^l exp(-a r²)`` stays under ``threshold``.

    The bound holds for any combination of the 2l+1 orbitals whose coefficients have norm one, by Unsöld's theorem
    sum_m S_lm² = (2l+1)/4pi r^2l. The fixed point of a r² = level + l ln r is approached from above, so stopping
    early only makes the radius larger. ``cutoff`` (Å, may be infinite) limits it.
    """
    if amplitude == 0.0:
        return 0.0
    level = math.log(amplitude * math.sqrt((2 * l + 1) / (4 * math.pi)) / threshold)
    if l == 0:
        return min(math.sqrt(max(level, 0.0) / exponent), cutoff)
    peak = math.sqrt(l / (2 * exponent))
    if level + l * (math.log(peak) - 0.5) <= 0.0:
        return 0.0
    # ln r <= ln(peak) + r/peak - 1 turns the equation into a quadratic whose root lies above the wanted one.
    slope = l / peak
    constant = level + l * (math.log(peak) - 1.0)
    top = (slope + math.sqrt(slope * slope + 4 * exponent * max(constant, 0.0))) / (2 * exponent)
    for _ in range(4):
        top = math.sqrt(max((level + l * math.log(top)) / exponent, peak * peak))
    return min(top, cutoff)


@cached_njit(nogil=True)
def site_radii(
    site_type: Index,
    site_ptr: Index,
    shell_ptr: Index,
    shell_l: Index,
    primitive_ptr: Index,
    exponents: Real,
    weights: Real,
    scalings: Real,
    strength: Array,
    strength_ptr: Index,
    reach_ptr: Index,
    tolerance: float,
    cutoff: float,
) -> tuple[Array, Array]:
    """Radius of every primitive of every site, and the largest per site.

    Args:
        site_type, site_ptr: sites of each structure; scalings [n_sites], empty for none.
        strength: norm of the coefficients of each shell of each site, the shells of site i from strength_ptr[i] on.
        reach_ptr: int64 [n_sites + 1], first entry of each site in the result.
        tolerance: bound on everything skipped at one point in a structure, in the unit of the field.

    Returns:
        squared radii (Å²) of the primitives of each site [reach_ptr[-1]]; radius of each site (Å) [n_sites].
    """
    reach2 = np.zeros(reach_ptr[-1])
    site_reach = np.zeros(site_type.size)
    for structure in range(site_ptr.size - 1):
        first, last = site_ptr[structure], site_ptr[structure + 1]
        threshold = tolerance / max(reach_ptr[last] - reach_ptr[first], 1)
        for site in range(first, last):
            shell0 = shell_ptr[site_type[site]]
            entry = reach_ptr[site]
            scale = scalings[site] if scalings.size else 1.0
            for shell in range(shell0, shell_ptr[site_type[site] + 1]):
                size = strength[strength_ptr[site] + shell - shell0]
                for q in range(primitive_ptr[shell], primitive_ptr[shell + 1]):
                    r = radius(shell_l[shell], exponents[q] * scale, abs(weights[q]) * size, threshold, cutoff)
                    reach2[entry] = r * r
                    entry += 1
                    site_reach[site] = max(site_reach[site], r)
    return reach2, site_reach


@cached_njit(nogil=True)
def shell_strength(
    site_type: Index,
    shell_ptr: Index,
    shell_l: Index,
    coefficients: Real,
    strength_ptr: Index,
    at_least: float,
) -> Array:
    """Norm over m of each shell's coefficients, the largest of the K channels, but at least ``at_least``."""
    strength = np.empty(strength_ptr[-1])
    row = 0
    for site in range(site_type.size):
        entry = strength_ptr[site]
        for shell in range(shell_ptr[site_type[site]], shell_ptr[site_type[site] + 1]):
            width = 2 * shell_l[shell] + 1
            largest = at_least * at_least
            for k in range(coefficients.shape[1]):
                total = 0.0
                for m in range(width):
                    total += float(coefficients[row + m, k]) ** 2
                largest = max(largest, total)
            strength[entry] = math.sqrt(largest)
            entry += 1
            row += width
    return strength


@cached_njit(nogil=True)
def suffix_reach(
    site_type: Index,
    group_ptr: Index,
    group_shell_ptr: Index,
    shell_order: Index,
    primitive_ptr: Index,
    type_primitive: Index,
    reach_ptr: Index,
    reach2: Array,
    shell_reach_ptr: Index,
) -> Array:
    """Squared radius (Å²) of each shell or any after it in its group of equal l, in shell_order, for every site."""
    result = np.zeros(shell_reach_ptr[-1])
    for site in range(site_type.size):
        own_type = site_type[site]
        entry = reach_ptr[site] - type_primitive[own_type]
        ahead = shell_reach_ptr[site] - group_shell_ptr[group_ptr[own_type]]
        for group in range(group_ptr[own_type], group_ptr[own_type + 1]):
            farthest = 0.0
            for index in range(group_shell_ptr[group + 1] - 1, group_shell_ptr[group] - 1, -1):
                for q in range(primitive_ptr[shell_order[index]], primitive_ptr[shell_order[index] + 1]):
                    farthest = max(farthest, reach2[entry + q])
                result[ahead + index] = farthest
    return result


@cached_njit(nogil=True)
def images(
    site_positions: Array,
    site_ptr: Index,
    site_reach: Array,
    cells: Array,
    inverse: Array,
    pbc: npt.NDArray[np.bool_],
    bounds: Array,
) -> tuple[Array, Index, Index]:
    """Periodic images of the sites whose orbitals reach the points.

    Args:
        site_positions [n_sites, 3] and site_reach [n_sites] in Å; cells [n_structures, 3, 3] completed, ``inverse``
        their inverses; pbc [n_structures, 3]; bounds [n_structures, 2, 3], least and largest fractional coordinate
        of the points.

    Returns:
        positions [n_images, 3] (Å), site of each image [n_images], images of each structure [n_structures + 1].
    """
    n_structures = site_ptr.size - 1
    ptr = np.zeros(n_structures + 1, dtype=np.int64)
    position = np.empty((0, 3))
    site_of_image = np.empty(0, dtype=np.int64)
    for fill in range(2):
        count = 0
        for structure in range(n_structures):
            cell = cells[structure]
            for site in range(site_ptr[structure], site_ptr[structure + 1]):
                low = np.zeros(3, dtype=np.int64)
                high = np.zeros(3, dtype=np.int64)
                for axis in range(3):
                    if pbc[structure, axis]:
                        f, steepness = 0.0, 0.0
                        for j in range(3):
                            f += site_positions[site, j] * inverse[structure, j, axis]
                            steepness += inverse[structure, j, axis] ** 2
                        extent = site_reach[site] * math.sqrt(steepness) + 1e-9
                        low[axis] = math.ceil(bounds[structure, 0, axis] - f - extent)
                        high[axis] = math.floor(bounds[structure, 1, axis] - f + extent)
                for a in range(low[0], high[0] + 1):
                    for b in range(low[1], high[1] + 1):
                        for c in range(low[2], high[2] + 1):
                            if fill:
                                site_of_image[count] = site
                                for j in range(3):
                                    shift = a * cell[0, j] + b * cell[1, j] + c * cell[2, j]
                                    position[count, j] = site_positions[site, j] + shift
                            count += 1
            ptr[structure + 1] = count
        if not fill:
            position = np.empty((count, 3))
            site_of_image = np.empty(count, dtype=np.int64)
    return position, site_of_image, ptr
