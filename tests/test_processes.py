"""Work in processes, and that these end with the one they work for."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import places
import pytest

from orbdens.machine import available_cores
from orbdens.processes import parallel_map

SLEEPER = """
import os, sys, time
from pathlib import Path

def work(i):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    from orbdens.processes import parallel_map
    with parallel_map(100, 1) as run:
        list(run(work, range(100)))
"""

ALLOCATOR = """
import resource, numpy
from orbdens.processes import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        numpy.ones(1 << 23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""


def _alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(number: int, tmp_path: Path) -> None:
    """A batch system's cancel is a SIGTERM to the parent alone."""
    script, folder = tmp_path / "sleeper.py", tmp_path / "pids"
    script.write_text(SLEEPER)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(places.ROOT)}
    parent = subprocess.Popen([sys.executable, str(script), str(folder)], env=environment)
    try:
        for _ in range(600):
            if any(folder.iterdir()):
                break
            time.sleep(0.1)
        workers = [int(path.name) for path in folder.iterdir()]
        assert workers
        parent.send_signal(number)
        parent.wait(30)
        for _ in range(200):
            if not any(_alive(pid) for pid in workers):
                break
            time.sleep(0.1)
        assert not any(_alive(pid) for pid in workers)
    finally:
        parent.kill()
        for path in folder.iterdir():
            if _alive(int(path.name)):
                os.kill(int(path.name), signal.SIGKILL)


def test_little_work_starts_no_processes() -> None:
    with parallel_map(3, 1) as run:
        assert run is map


def test_cores_are_counted_where_the_system_tells_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no such function."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cores() == os.cpu_count()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other ways")
def test_freed_memory_is_kept() -> None:
    """The pages of 64 MB again and again, and not at all."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment["PYTHONPATH"] = str(places.ROOT)
    printed = subprocess.run([sys.executable, "-c", ALLOCATOR], env=environment, capture_output=True, check=True).stdout
    before, after = map(int, printed.split())
    assert before > 100 and after < 10
