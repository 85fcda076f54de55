"""Speed of the kernels, after a correctness gate: ``python -m benchmarks.kernels --case benzene --threads 2 --json F``.

Nothing is printed about speed unless values and gradients pass. Times are the best of several runs; every figure is for
float32 unless it says otherwise. PySCF is the outside truth and the outside measure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyscf
import pyscf.scf
import torch
from pyscf import df, gto
from pyscf.df.addons import aug_etb

from orbdens.kernels import Orbitals, Shells, orbital_fields, orbital_fields_on_grid
from orbdens.machine import describe_machine, describe_versions
from orbdens.metrics import MARGIN
from orbdens.pyscf.order import ao_order
from orbdens.units import BOHR

BENZENE = (
    "C 0 1.395 0; C 1.208 .6975 0; C 1.208 -.6975 0; C 0 -1.395 0; C -1.208 -.6975 0; C -1.208 .6975 0;"
    "H 0 2.48 0; H 2.148 1.24 0; H 2.148 -1.24 0; H 0 -2.48 0; H -2.148 -1.24 0; H -2.148 1.24 0"
)
CUTOFF = 5.0
TOLERANCE = 1e-6
GATE = {"value": 1e-5, "gradient": 1e-4}


class Case:
    """Benzene in the even-tempered basis PySCF's rule makes from def2-QZVPPD, with fitted density coefficients."""

    def __init__(self, beta: float = 2.0) -> None:
        orbital = gto.M(atom=BENZENE, basis="def2-qzvppd", verbose=0)
        basis = aug_etb(orbital, beta=beta)
        self.molecule = gto.M(atom=BENZENE, basis=basis, verbose=0)
        elements = ["C", "H"]
        types = [[(s[0], [s[1][0] / BOHR**2], [1.0]) for s in sorted(basis[e], key=lambda s: s[0])] for e in elements]
        self.shells = Shells.from_lists(types)
        self.site_type = torch.tensor([elements.index(self.molecule.atom_symbol(i)) for i in range(12)])
        self.positions = torch.from_numpy(self.molecule.atom_coords() * BOHR)
        self.columns = ao_order(self.molecule.bas_angular(shell) for shell in range(self.molecule.nbas))
        self.coefficients = self._fit()

    def _fit(self) -> torch.Tensor:
        """Coulomb fit [n, 1] of the superposed atoms' density: coefficients as large as those of real densities."""
        minimal = gto.M(atom=BENZENE, basis="def2-svp", verbose=0)
        matrix = pyscf.scf.hf.init_guess_by_minao(minimal)
        i, j = np.tril_indices(minimal.nao)
        right = (matrix[i, j] * np.where(i == j, 1, 2)) @ df.incore.aux_e2(minimal, self.molecule, aosym="s2ij")
        metric = self.molecule.intor("int2c2e")
        scale = 1 / np.sqrt(np.diag(metric))
        values, vectors = np.linalg.eigh(metric * scale * scale[:, None])
        keep = values > 1e-7 * values[-1]
        fit = vectors[:, keep] @ ((vectors[:, keep].T @ (right * scale)) / values[keep]) * scale
        return torch.from_numpy(fit[self.columns] * BOHR**-1.5)[:, None]

    def pyscf_density(self, points: np.ndarray) -> np.ndarray:
        """Density (e/Å³) at points (Å) by PySCF's eval_gto and one product, float64."""
        ordered = np.empty(len(self.columns))
        ordered[self.columns] = self.coefficients[:, 0].numpy()
        values: np.ndarray = self.molecule.eval_gto("GTOval_sph", points / BOHR) @ ordered * BOHR**-1.5
        return values

    def fields(self, points: torch.Tensor, backend: str, cutoff: float | None, **leaves: torch.Tensor) -> torch.Tensor:
        """Density [n_points, 1] in the precision of the points."""
        return orbital_fields(self.orbitals(points.dtype, cutoff, **leaves), points, backend=backend)

    def orbitals(self, dtype: torch.dtype, cutoff: float | None, **leaves: torch.Tensor) -> Orbitals:
        """The density in this precision, some of its tensors replaced."""
        shells = self.shells.to(dtype=dtype)
        if "exponents" in leaves:
            shells = shells.with_radial(leaves["exponents"], shells.weights)
        return Orbitals.of_structure(
            leaves.get("site_positions", self.positions.to(dtype)),
            self.site_type,
            shells,
            leaves.get("coefficients", self.coefficients.to(dtype)),
            cutoff=cutoff,
            tolerance=TOLERANCE,
        )

    def grid(self, spacing: float, margin: float = MARGIN) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """Origin and shape of the uniform grid with a margin around the atoms."""
        low, high = self.positions.min(0).values - margin, self.positions.max(0).values + margin
        x, y, z = (int(n) for n in torch.ceil((high - low) / spacing))
        return low, (x, y, z)

    def on_grid(self, spacing: float, cutoff: float | None) -> torch.Tensor:
        """Density on the uniform grid by the fast path, float32."""
        origin, shape = self.grid(spacing)
        orbitals = self.orbitals(torch.float32, cutoff)
        return orbital_fields_on_grid(orbitals, origin, spacing * torch.eye(3), shape, backend="cpu")


def grid_points(origin: torch.Tensor, shape: tuple[int, int, int], spacing: float) -> torch.Tensor:
    """The points of a grid, [n, 3] float64."""
    return origin + spacing * torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in shape))


def random_points(n: int) -> torch.Tensor:
    """Training points: uniform in the molecule's box with 3 Å around, float32."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, 3, generator=generator) * 2 - 1) * torch.tensor([5.2, 5.5, 3.0])


def gate(case: Case) -> dict[str, float]:
    """Errors of the cpu backend; values relative to the density's maximum, gradients to their own."""
    points = random_points(4000)
    truth = case.pyscf_density(points.double().numpy())
    top = case.pyscf_density(case.positions.numpy()).max()
    errors = {"points": float(np.abs(case.fields(points, "cpu", None)[:, 0].double().numpy() - truth).max() / top)}
    spacing = 0.5
    truth = case.pyscf_density(grid_points(*case.grid(spacing), spacing).numpy())
    errors["grid"] = float(np.abs(case.on_grid(spacing, None)[:, 0].double().numpy() - truth).max() / top)
    few = points[:500]
    sources = {"site_positions": case.positions, "coefficients": case.coefficients, "exponents": case.shells.exponents}
    exact: dict[str, torch.Tensor] = {}
    for backend, dtype in (("reference", torch.float64), ("cpu", torch.float32)):
        leaves = {name: source.to(dtype, copy=True).requires_grad_() for name, source in sources.items()}
        at = few.to(dtype, copy=True).requires_grad_()
        fields = case.fields(at, backend, CUTOFF, **leaves)
        (fields * torch.linspace(-1, 1, len(few), dtype=dtype)[:, None]).sum().backward()
        for name, leaf in {**leaves, "points": at}.items():
            assert leaf.grad is not None
            if backend == "reference":
                exact[name] = leaf.grad
            else:
                errors[f"gradient_{name}"] = float((leaf.grad - exact[name]).abs().max() / exact[name].abs().max())
    return errors


def best(run: Callable[[], Any], repeats: int) -> float:
    """Shortest wall time of several runs, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def forward_backward(case: Case, points: torch.Tensor, backend: str) -> None:
    """One training step's worth: density at the points, gradient with respect to coefficients."""
    coefficients = case.coefficients.float().requires_grad_()
    case.fields(points, backend, CUTOFF, coefficients=coefficients).abs().mean().backward()


def measure(case: Case, repeats: int) -> dict[str, float]:
    """All figures, points per second unless named otherwise."""
    spacing = 0.1
    origin, shape = case.grid(spacing)
    points = grid_points(origin, shape, spacing).float()
    sample = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:20_000]]
    training = random_points(20_000)
    case.fields(points[:100], "cpu", CUTOFF)
    seconds = {
        "points": best(lambda: case.fields(points, "cpu", CUTOFF), repeats) / len(points),
        "grid": best(lambda: case.on_grid(spacing, CUTOFF), repeats) / len(points),
        "float64": best(lambda: case.fields(points.double(), "cpu", CUTOFF), 2) / len(points),
        "training": best(lambda: forward_backward(case, training, "cpu"), 3 * repeats) / len(training),
        "reference": best(lambda: case.fields(sample, "reference", CUTOFF), 2) / len(sample),
        "reference_training": best(lambda: forward_backward(case, training, "reference"), 2) / len(training),
        "pyscf": best(lambda: case.pyscf_density(sample.double().numpy()), 2) / len(sample),
    }
    return {
        "forward_points_per_s": 1 / seconds["points"],
        "grid_points_per_s": 1 / seconds["grid"],
        "forward_points_per_s_float64": 1 / seconds["float64"],
        "forward_backward_points_per_s": 1 / seconds["training"],
        "reference_forward_points_per_s": 1 / seconds["reference"],
        "reference_forward_backward_points_per_s": 1 / seconds["reference_training"],
        "pyscf_points_per_s": 1 / seconds["pyscf"],
        "forward_over_reference": seconds["reference"] / seconds["points"],
        "grid_over_reference": seconds["reference"] / seconds["grid"],
        "forward_backward_over_reference": seconds["reference_training"] / seconds["training"],
        "forward_over_pyscf": seconds["pyscf"] / seconds["points"],
        "grid_over_pyscf": seconds["pyscf"] / seconds["grid"],
    }


def scaling(n_molecules: int, points_per_atom: int = 400) -> float:
    """Seconds per atom for a water cluster at fixed points per atom, float32, 5 Å cut-off."""
    side = round(n_molecules ** (1 / 3) + 0.499)
    cells = torch.cartesian_prod(*[torch.arange(side)] * 3)[:n_molecules].double() * 3.1
    water = torch.tensor([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]], dtype=torch.float64)
    positions = (cells[:, None] + water).reshape(-1, 3).float()
    exponents = [0.3 * 2.2**i for i in range(7)]
    shells = Shells.from_lists(
        [
            [(l, [a], [1.0]) for l in range(4) for a in exponents[: 7 - l]],
            [(l, [a], [1.0]) for l in range(2) for a in exponents[:4]],
        ],
        torch.float32,
    )
    site_type = torch.tensor([0, 1, 1]).repeat(n_molecules)
    n = len(positions)
    jitter = torch.randn(n * points_per_atom, 3, generator=torch.Generator().manual_seed(0))
    points = positions.repeat_interleave(points_per_atom, 0) + jitter
    coefficients = torch.randn(shells.n_coefficients(site_type), 1, generator=torch.Generator().manual_seed(1))

    def evaluate() -> None:
        orbitals = Orbitals.of_structure(positions, site_type, shells, coefficients, cutoff=CUTOFF)
        orbital_fields(orbitals, points, backend="cpu")

    return best(evaluate, 3) / n


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["benzene"], default="benzene", help="the molecule measured")
    parser.add_argument("--threads", type=int, default=2, help="threads of every code measured, PySCF's included")
    parser.add_argument("--repeats", type=int, default=4, help="runs, of which the shortest counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pyscf.lib.num_threads(options.threads)
    case = Case()
    errors = gate(case)
    for name, error in errors.items():
        limit = GATE["gradient" if name.startswith("gradient") else "value"]
        print(f"{name:28s} error {error:.1e}  limit {limit:.0e}")
        if not error <= limit:
            print("the correctness gate failed: no speed is reported", file=sys.stderr)
            return 1
    figures = measure(case, options.repeats)
    small, large = scaling(33), scaling(333)
    figures["seconds_per_atom_1000_over_100"] = large / small
    for name, value in figures.items():
        print(f"{name:44s} {value:12.4g}")
    if options.json:
        machine = describe_machine(options.threads) | describe_versions("torch", "numba", "pyscf")
        everything = {"case": options.case, "machine": machine, "errors": errors, **figures}
        options.json.write_text(json.dumps(everything, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
