"""How long one waits for a fresh process: ``python -m benchmarks.starting --json F``. Best of several, in seconds.

The compiled kernels must be in their cache, as they are after the first use of an installation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ase.build import molecule

from orbdens.machine import describe_machine, describe_versions

RUN = "from orbdens.cli import main; main()"
COMMANDS = {
    "import orbdens": ["-c", "import orbdens"],
    "orbdens --help": ["-c", RUN, "--help"],
    "orbdens predict, one ethanol to a 0.2 Å cube": ["-c", RUN, "predict", "ethanol.xyz", "--force"],
    "orbdens evaluate --help": ["-c", RUN, "evaluate", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the shortest counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "PYTHONPATH": path}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        molecule("CH3CH2OH").write(Path(folder) / "ethanol.xyz")
        for name, words in COMMANDS.items():
            times = []
            for _ in range(arguments.repeats):
                begun = time.perf_counter()
                subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, check=True)
                times.append(time.perf_counter() - begun)
            figures[name] = min(times)
            print(f"{name:46} {figures[name]:.3f} s")
    if arguments.json:
        machine = describe_machine(arguments.threads) | describe_versions("torch", "numba", "pyscf")
        arguments.json.write_text(json.dumps({"machine": machine, "seconds": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
