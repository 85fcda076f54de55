"""The compiled loop that writes a density of products of orbitals as Gaussians on centres between the atoms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orbdens.kernels.cpu.pairs import compiled

SMALLEST = 1e-16
"""Products smaller than this everywhere are left out."""


@compiled
def _raise(lower: Any, degree: int, p: float, distance: float, out: Any) -> None:
    for t in range(degree + 2):
        value = 0.0
        if t <= degree:
            value += distance * lower[t]
        if t > 0:
            value += 0.5 / p * lower[t - 1]
        if t + 1 <= degree:
            value += (t + 1) * lower[t + 1]
        out[t] = value


@compiled
def hermite(l: int, l2: int, p: float, to_first: float, to_second: float, prefactor: float, out: Any) -> None:
    """Coefficients of the product of x_A^i x_B^j exp(...) over derivatives of one Gaussian, out [l+1, l2+1, l+l2+1].

    McMurchie and Davidson, J. Comput. Phys. 26, 218 (1978).
    """
    out[: l + 1, : l2 + 1, : l + l2 + 1] = 0.0
    out[0, 0, 0] = prefactor
    for i in range(l + 1):
        if i > 0:
            _raise(out[i - 1, 0], i - 1, p, to_first, out[i, 0])
        for j in range(1, l2 + 1):
            _raise(out[i, j - 1], i + j - 1, p, to_second, out[i, j])


@compiled
def expand(
    positions: Any,
    kind: Any,
    start: Any,
    matrix: Any,
    exponent_ptr: Any,
    exponents: Any,
    degrees: Any,
    polynomial_ptr: Any,
    polynomials: Any,
    n_orbitals: Any,
    powers: Any,
    place: Any,
    harmonic: Any,
    centres: Any,
    of_products: Any,
    of_degrees: Any,
    moments: Any,
) -> int:
    """Write Σ D_ab φ_a φ_b as Laplacians of harmonic Gaussians, as ``project`` takes them; returns their number.

    polynomials: for each exponent of a kind [n_monomials, n_orbitals of the kind], from ``polynomial_ptr`` on: what the
    kind's orbitals are at this exponent, monomials in order of degree with the exponents ``powers`` [n_monomials, 3].
    place [L+1, L+1, L+1]: index of a derivative; harmonic [n, n]: derivatives as Laplacians of harmonics.
    """
    found = 0
    l_max = degrees.max()
    n_monomials = (l_max + 1) * (l_max + 2) * (l_max + 3) // 6
    cube = (l_max + 1, l_max + 1, 2 * l_max + 2)
    ex, ey, ez = np.empty(cube), np.empty(cube), np.empty(cube)
    half, product = np.empty((n_monomials, n_orbitals.max())), np.empty((n_monomials, n_monomials))
    derivatives = np.empty(harmonic.shape[0])
    for i in range(len(positions)):
        for j in range(i, len(positions)):
            x, y, z = positions[j] - positions[i]
            r2 = x * x + y * y + z * z
            n1, n2 = n_orbitals[kind[i]], n_orbitals[kind[j]]
            for a in range(exponent_ptr[kind[i]], exponent_ptr[kind[i] + 1]):
                la, alpha = degrees[a], exponents[a]
                na = (la + 1) * (la + 2) * (la + 3) // 6
                for u in range(na):
                    half[u, :n2] = 0.0
                    for o in range(n1):
                        factor = polynomials[polynomial_ptr[a] + u * n1 + o]
                        if factor != 0.0:
                            for o2 in range(n2):
                                half[u, o2] += factor * matrix[start[i] + o, start[j] + o2]
                # of one atom (a, b) and (b, a) are alike
                for b in range(a if i == j else exponent_ptr[kind[j]], exponent_ptr[kind[j] + 1]):
                    lb, beta = degrees[b], exponents[b]
                    p = alpha + beta
                    exponential = math.exp(-alpha * beta / p * r2)
                    if exponential < SMALLEST * SMALLEST:
                        continue
                    nb = (lb + 1) * (lb + 2) * (lb + 3) // 6
                    for u in range(na):
                        for v in range(nb):
                            value = 0.0
                            for o2 in range(n2):
                                value += half[u, o2] * polynomials[polynomial_ptr[b] + v * n2 + o2]
                            product[u, v] = value if i == j and a == b else 2.0 * value
                    share = beta / p
                    hermite(la, lb, p, share * x, (share - 1.0) * x, exponential, ex)
                    hermite(la, lb, p, share * y, (share - 1.0) * y, 1.0, ey)
                    hermite(la, lb, p, share * z, (share - 1.0) * z, 1.0, ez)
                    n = (la + lb + 1) * (la + lb + 2) * (la + lb + 3) // 6
                    derivatives[:n] = 0.0
                    for u in range(na):
                        for v in range(nb):
                            value = product[u, v]
                            if value == 0.0:
                                continue
                            for tx in range(powers[u, 0] + powers[v, 0] + 1):
                                fx = value * ex[powers[u, 0], powers[v, 0], tx]
                                for ty in range(powers[u, 1] + powers[v, 1] + 1):
                                    fy = fx * ey[powers[u, 1], powers[v, 1], ty]
                                    for tz in range(powers[u, 2] + powers[v, 2] + 1):
                                        derivatives[place[tx, ty, tz]] += fy * ez[powers[u, 2], powers[v, 2], tz]
                    largest, scale = 0.0, p**-1.5
                    for k in range(n):
                        value = 0.0
                        for t in range(n):
                            value += harmonic[k, t] * derivatives[t]
                        moments[found, k] = scale * value
                        largest = max(largest, abs(scale * value))
                    if largest < SMALLEST:
                        continue
                    centres[found, 0] = positions[i, 0] + share * x
                    centres[found, 1] = positions[i, 1] + share * y
                    centres[found, 2] = positions[i, 2] + share * z
                    of_products[found] = p
                    of_degrees[found] = la + lb
                    found += 1
    return found
