"""Run by test_process.py where neither the package nor the home can be written to. Argument: expected cache hits."""

from __future__ import annotations

import sys
from pathlib import Path

from orbdens.kernels import screening
from orbdens.kernels.cpu import backend  # decorates every compiled function


def main(hits: int, package: str) -> None:
    assert Path(backend.__file__).is_relative_to(package), backend.__file__
    assert screening.radius(0, 1.0, 1.0, 1e-8, 5.0) > 0
    assert sum(screening.radius.stats.cache_hits.values()) == hits


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
