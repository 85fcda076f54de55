"""What works on this machine: versions, kernel backends and why not, and a short check of each that runs."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from orbdens.devices import find_device, why_no_gpu
from orbdens.kernels import (
    BACKENDS,
    Orbitals,
    Shells,
    backend_device,
    choose_backend,
    orbital_fields,
    validate,
)
from orbdens.machine import available_cores, describe_machine

PACKAGES = (
    "orbdens",
    "torch",
    "numpy",
    "numba",
    "triton",
    "e3nn",
    "torch-geometric",
    "torch-scatter",
    "lightning",
    "pyscf",
)

TOLERANCE = 1e-5
"""Largest difference from the reference in float64, relative to the field's maximum, of a backend that works."""


VERBS = (
    ("predict", True, "electron counts, cores (--core), files"),
    ("predict --store, data select", False, "sites and edges"),
    ("evaluate, compare", True, "reference densities, dipoles, potentials, charges"),
    ("view, cp2k", True, "potentials, free atoms, files"),
    ("xray, charges", True, "form factors, potentials, free atoms"),
    ("potential, moments, topology, scf", False, "potentials, moments, Hessians, integrals"),
)
"""What verbs compute: whether values of predicted densities, beside the network, and what the processor alone can."""

PROCESSOR_KINDS = ("hk_map", "promolecule", "soap_gpr")
"""Kinds of models that the processor computes; where their densities are evaluated is another matter."""

ENOUGH = 0.1
"""Seconds that make a speed."""


@dataclass(frozen=True)
class Finding:
    """One backend: why it cannot run, or its error against the float64 reference and points per second."""

    backend: str
    reason: str | None
    error: float = 0.0
    points_per_s: float = 0.0

    @property
    def works(self) -> bool:
        return self.reason is None and self.error < TOLERANCE


def check_backends() -> list[Finding]:
    """Check every backend on a small molecule; a second or two once kernels are compiled."""
    findings = []
    expected = _fields("reference", torch.float64, 2_000)
    for backend in BACKENDS:
        reason = validate(backend)
        if reason is not None:
            findings.append(Finding(backend, reason))
            continue
        try:
            found = _fields(backend, torch.float32, 2_000)
            n_points, seconds = 1_000, 0.0
            while seconds < ENOUGH and n_points < 200_000:  # interpreted kernels take minutes for many points
                n_points *= 2
                begin = time.perf_counter()
                _fields(backend, torch.float32, n_points)
                seconds = time.perf_counter() - begin
        except Exception as error:  # whatever a broken installation throws is what the user has to see
            findings.append(Finding(backend, f"it fails: {' '.join(str(error).split())[:200]}"))
            continue
        difference = float((found.double() - expected).abs().max() / expected.abs().max())
        findings.append(Finding(backend, None, difference, n_points / seconds))
    return findings


def _fields(backend: str, dtype: torch.dtype, n_points: int) -> torch.Tensor:
    """Six sites on a ring with even-tempered s, p and d shells, at random points around it."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.arange(6) * (torch.pi / 3)
    sites = 1.4 * torch.stack([torch.cos(angle), torch.sin(angle), torch.zeros(6)], dim=1)
    shells = Shells.from_lists([[(l, [0.4 * 2.0**k], [1.0]) for l in range(3) for k in range(6)]])
    site_type = torch.zeros(6, dtype=torch.int64)
    coefficients = torch.randn(shells.n_coefficients(site_type), 1, generator=generator, dtype=torch.float64)
    points = 3 * torch.randn(n_points, 3, generator=generator, dtype=torch.float64)
    orbitals = Orbitals.of_structure(sites.double(), site_type, shells, coefficients).to(backend_device(backend), dtype)
    return orbital_fields(orbitals, points.to(orbitals.coefficients), backend=backend).cpu()


def report(findings: list[Finding], console: Console) -> None:
    """Print versions and findings."""
    table = Table(show_header=False, box=None)
    table.add_row("python", platform.python_version())
    for name in PACKAGES:
        try:
            table.add_row(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            table.add_row(name, "not installed")
    machine = describe_machine()
    table.add_row("system, processor", f"{machine['system']}, {machine['cpu']}")
    table.add_row("cores, torch threads", f"{available_cores()}, {machine['threads']}")
    table.add_row("GPU", str(machine.get("gpu", "none")))
    console.print(table)
    backends = Table("kernels", "state", "error", "points/s")
    for finding in findings:
        if finding.reason is not None:
            backends.add_row(finding.backend, f"cannot run: {finding.reason}", "", "")
        else:
            state = "works" if finding.works else "runs, but its values are wrong"
            backends.add_row(finding.backend, state, f"{finding.error:.0e}", f"{finding.points_per_s:.2g}")
    console.print(backends)
    console.print(placements())
    reason = why_no_gpu()
    means = find_device().place if reason is None else f"cpu: {reason}"
    console.print(f"--device auto is {means}; models of kind {', '.join(PROCESSOR_KINDS)} are computed by the CPU")


def placements() -> Table:
    """What every verb would use: the network's device, the kernels of densities, and what stays on the processor."""
    device = find_device()
    trains_on = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else device.place
    table = Table("verbs, with --device auto", "network", "densities", "on the CPU whatever the device")
    for verbs, values, rest in VERBS:
        table.add_row(verbs, str(device.place), f"kernels: {device.kernels}" if values else "", rest)
    training = f"kernels: {choose_backend('auto', trains_on)}"
    table.add_row("train, with training.device=auto", str(trains_on), training, "label fits, validation references")
    return table
