"""The machine that figures come from: told once, for evaluations, benchmarks and ``orbdens doctor`` alike."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path


def describe_machine(threads: int | None = None) -> dict[str, str | int | float]:
    """Processor, cores, threads, system, load of the last minute, and GPU; the last two where there are any.

    Args:
        threads: that the work used; None asks PyTorch.
    """
    import torch

    machine: dict[str, str | int | float] = {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads() if threads is None else threads,
        "system": platform.system(),
    }
    if hasattr(os, "getloadavg"):  # not on Windows
        machine["load"] = round(os.getloadavg()[0], 2)
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def describe_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, orbdens and other installed packages."""
    import orbdens

    versions = {"orbdens": orbdens.__version__, "python": platform.python_version()}
    return versions | {package: version(package) for package in packages}


def available_cores() -> int:
    """Cores that this process may use, which a batch system can make fewer than the machine has."""
    # macOS and Windows cannot tell
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_per_core() -> float:
    """Bytes of the machine's memory for each of its cores; infinite where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (os.cpu_count() or 1)


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, kB elsewhere


def _processor() -> str:
    """Name of the processor, as exactly as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
