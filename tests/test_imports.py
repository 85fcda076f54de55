"""Imports point down: cli > verbs > models > interface > data > kernels, formats, metrics > structures > units."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import orbdens

PACKAGE = Path(orbdens.__file__).parent
LEVELS = [
    ["units", "errors"],
    ["config", "progress", "structure"],
    ["grid", "graph"],
    ["sites"],
    ["formats", "metrics", "kernels"],
    ["evaluation", "density"],
    ["tables", "data"],
    ["density_model"],
    ["model", "baselines"],
    ["checkpoint"],
    ["start"],
    ["fit", "train", "predict", "evaluate", "compare", "report", "doctor"],
    ["demo"],
    ["cli"],
]
"""A part may import parts of the lines above its own, and none of its own line: no verb imports a verb."""

HEAVY = ("torch", "lightning", "pyscf", "numba", "ase", "matplotlib")


def imported_parts(file: Path) -> set[str]:
    """Parts of orbdens that a file imports anywhere, but for imports that only type checkers see."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in unseen:
            modules += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and id(node) not in unseen:
            modules.append(node.module)
    return {module.split(".")[1] for module in modules if module.startswith("orbdens.")}


def test_imports_point_down() -> None:
    level_of = {part: level for level, parts in enumerate(LEVELS) for part in parts}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for other in imported_parts(file) - {part}:
            assert level_of[other] < level_of[part], f"{file.relative_to(PACKAGE)} imports orbdens.{other}"


def test_names_are_imported_without_torch() -> None:
    code = f"import sys, orbdens, orbdens.config, orbdens.cli;print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pickles() -> None:
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import pickle" not in text, file
        assert "torch.load(" not in text, file
        assert "allow_pickle=True" not in text, file
