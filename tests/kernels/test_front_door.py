"""Everything outside the folder of the kernels comes in through ``orbdens.kernels``."""

from __future__ import annotations

import ast
from pathlib import Path

import orbdens
from orbdens import kernels

PACKAGE = Path(orbdens.__file__).parent


def test_nobody_goes_round_it() -> None:
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "data_tools").rglob("*.py")]
    outside = [file for file in files if PACKAGE / "kernels" not in file.parents]
    assert len(outside) > 100
    for file in outside:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                assert not node.module.startswith("orbdens.kernels."), f"{file}: {node.module}"
                if node.module == "orbdens.kernels":
                    assert {alias.name for alias in node.names} <= set(kernels.__all__), file
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("orbdens.kernels") for alias in node.names), file


def test_what_it_offers_is_there() -> None:
    assert all(hasattr(kernels, name) for name in kernels.__all__)
    assert sorted(kernels.__all__) == kernels.__all__
