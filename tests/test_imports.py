"""Imports point down, without circles, and nobody imports what another module keeps private; ``orbdens/README.md``."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import data_tools
import orbdens

PACKAGES = [Path(package.__file__ or "").parent for package in (orbdens, data_tools)]
LEVELS = [
    ["errors", "units", "shipped"],
    ["files", "progress", "machine", "structure", "models.registry"],
    ["config", "processes", "electrons", "grid", "neighbours", "points"],
    ["sites", "sampling", "kernels", "expectation", "crystal"],
    ["store", "formats", "metrics", "fragments", "devices"],
    ["density", "pyscf"],
    ["grid_density"],
    ["observables", "comparison", "pyscf.first_fock"],
    ["labels", "pyscf.response"],
    ["models.interface", "pyscf.guess", "pyscf.cycles"],
    ["models.task"],
    ["models"],
    ["checkpoint"],
    ["training", "evaluation", "prediction", "doctor", "testing"],
    ["demo", "examples", "crystals", "properties", "starts"],
    ["property_tables", "topology", "viewing", "predicted_store"],
    ["routes", "tuning"],
    ["cli"],
    ["data_tools"],
]
"""A part may import parts of the lines above its own, and none of its own line: no verb imports a verb."""

HEAVY = ("torch", "lightning", "pyscf", "numba", "ase", "matplotlib", "torch_geometric", "e3nn")


def modules() -> dict[str, Path]:
    """All modules of both packages by their dotted names."""
    found = {}
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            parts = file.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(file: Path) -> Iterator[tuple[str, str | None, bool]]:
    """What a file imports anywhere: (module, name, at the top), but for imports that only type checkers see."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        at_top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0 or file not in MODULES.values(), f"{file}: relative import"
            yield from ((node.module, alias.name, at_top) for alias in node.names)


def imported_modules(file: Path) -> set[str]:
    """Modules of ours that a file imports; a name taken from a package that is a module itself counts as that."""
    found = set()
    for module, name, _ in imports(file):
        inner = f"{module}.{name}"
        found.add(inner if inner in MODULES else module)
    return found & MODULES.keys()


def level_of(module: str) -> int | None:
    """Of its longest prefix in ``LEVELS``; None for the front door of orbdens itself."""
    if module.startswith("data_tools"):
        return len(LEVELS) - 1
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        for level, names in enumerate(LEVELS):
            if ".".join(parts[:length]) in names:
                return level
    assert not parts, f"{module} stands on no level"
    return None


def room(module: str) -> str:
    """The part of a module that ``LEVELS`` names."""
    if module.startswith("data_tools"):
        return "data_tools"
    names = [name for names in LEVELS for name in names]
    parts = module.split(".")[1:]
    return next(n for length in range(len(parts), 0, -1) if (n := ".".join(parts[:length])) in names)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"orbdens"}))
def test_imports_point_down(module: str) -> None:
    level = level_of(module)
    assert level is not None
    for other in imported_modules(MODULES[module]) - {"orbdens"}:
        if room(other) != room(module):
            below = level_of(other)
            assert below is not None and below < level, f"{module} imports {other}"


def test_models_do_not_know_of_each_other() -> None:
    """What several share stands beside their folders."""
    for module, file in MODULES.items():
        parts = module.split(".")
        if parts[:2] == ["orbdens", "models"] and len(parts) > 3:
            for other in imported_modules(file):
                theirs = other.split(".")
                assert theirs[:2] != parts[:2] or len(theirs) <= 3 or theirs[2] == parts[2], f"{module} imports {other}"


def test_there_are_no_circles() -> None:
    graph = {module: imported_modules(file) - {module, "orbdens"} for module, file in MODULES.items()}
    # A package that re-exports its modules, and modules that import siblings through it, are no circle.
    for module, others in graph.items():
        graph[module] = {other for other in others if not module.startswith(f"{other}.")}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_nobody_imports_private_names() -> None:
    here = Path(__file__).parent
    files = [*MODULES.values(), *here.rglob("*.py"), *(here.parent / "benchmarks").rglob("*.py")]
    for file in files:
        for module, name, _ in imports(file):
            if module.split(".")[0] in ("orbdens", "data_tools", "benchmarks"):
                assert not (name or "").startswith("_"), f"{file.name} imports {name} of {module}"


def test_kernels_and_pyscf_are_entered_by_their_doors() -> None:
    for module, file in MODULES.items():
        for other in imported_modules(file):
            if not module.startswith("orbdens.kernels"):
                assert not other.startswith("orbdens.kernels."), f"{module} imports {other}"


def test_bohr_stays_at_the_border() -> None:
    """Inside it is all Å: only readers and writers of others' data convert."""
    for module, file in MODULES.items():
        if not module.startswith(("orbdens.formats", "orbdens.pyscf", "data_tools")):
            assert "BOHR" not in {name for _, name, _ in imports(file)}, module


def test_nobody_asks_for_the_kind_of_a_record() -> None:
    """A record is a density, whatever its kind; only the files of a store, and what rounds their numbers, differ."""
    asks = re.compile(r"isinstance\([^)]*(OrbitalRecord|GridRecord)")
    for module, file in MODULES.items():
        if not module.startswith(("orbdens.store", "orbdens.labels", "data_tools.stores.rounding")):
            assert not asks.search(file.read_text(encoding="utf-8")), module


def test_files_are_short() -> None:
    root = Path(__file__).parent.parent
    for file in [*MODULES.values(), *root.glob("tests/**/*.py"), *root.glob("benchmarks/*.py")]:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 450, file


def test_names_are_imported_without_torch() -> None:
    code = (
        "import sys, orbdens, orbdens.config, orbdens.cli;from orbdens.models.registry import find, kinds;"
        "options = [find(kind).run_class() for kind in kinds()];"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prediction_needs_no_training_packages() -> None:
    """Of `orbdens predict`'s seconds most are imports."""
    unneeded = ("lightning", "pyscf", "torch_geometric", "e3nn", "matplotlib", "sympy")
    code = (
        "import sys, numpy as np, orbdens;from orbdens.structure import Structure;"
        "d = orbdens.load().predict(Structure(np.array([8, 1, 1]), np.eye(3)));d.at(np.eye(3));"
        f"print([m for m in {unneeded} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pickles() -> None:
    for file in MODULES.values():
        text = file.read_text(encoding="utf-8")
        assert "import pickle" not in text, file
        # with weights_only torch makes tensors and plain values, and calls nothing a file names
        assert "torch.load(" not in re.sub(r"torch\.load\([^()]*weights_only=True\)", "", text), file
        assert "allow_pickle=True" not in text, file
