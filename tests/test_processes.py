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
from orbdens.processes import Ahead, parallel_map

SLEEPER = """
import os, sys, time
from pathlib import Path

def work(i):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    from orbdens.processes import parallel_map
    list(parallel_map(work, range(100), 1))
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


def test_little_work_starts_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbdens.processes.ProcessPoolExecutor", None)
    assert list(parallel_map(divmod, [1, 2, 3], 1, 7)) == [(7, 0), (3, 1), (2, 1)]


def test_work_is_done_once_whoever_does_it() -> None:
    """By processes while they live, and by this one if they are lost."""
    ahead: Ahead[int, tuple[int, int]] = Ahead(_with_pid, (10,), 1)
    try:
        for item in (1, 2):
            ahead.begin(item)
        value, pid = ahead.result(1)
        assert value == 11
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)
        ahead.begin(3)
        assert [ahead.result(item)[0] for item in (2, 3, 4)] == [12, 13, 14]
        ahead.begin(5)
        value, other = ahead.result(5)
        assert value == 15
        assert other not in (pid, os.getpid())
    finally:
        ahead.close()


def _with_pid(first: int, second: int) -> tuple[int, int]:
    return first + second, os.getpid()


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
