"""``import orbdens``: instant, and every public name is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

import orbdens

HEAVY = ("numpy", "torch", "lightning", "pyscf", "numba", "ase", "scipy", "matplotlib", "pydantic", "rich")


def test_importing_is_instant() -> None:
    code = f"import orbdens, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    promised = {"load", "train", "evaluate", "predict", "Store", "Density", "Structure", "Grid", "UserError"}
    assert promised <= set(orbdens.__all__) <= set(dir(orbdens))
    for name in orbdens.__all__:
        assert getattr(orbdens, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        getattr(orbdens, "fit")  # noqa: B009


def test_predict_with_a_named_or_loaded_model(trained: Path, molecule: Path) -> None:
    atoms = ase.io.read(molecule)
    density = orbdens.predict(atoms, trained)
    assert density.n_electrons == pytest.approx(12.0, abs=1e-5)
    one, two = orbdens.predict([atoms, atoms], orbdens.load(trained))
    points = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(one.at(points), density.at(points), rtol=1e-5)
    np.testing.assert_allclose(two.at(points), density.at(points), rtol=1e-5)
    with pytest.raises(orbdens.UserError, match="there is no model at nowhere"):
        orbdens.predict(atoms, "nowhere")


def test_evaluate(trained: Path) -> None:
    evaluation = orbdens.evaluate(trained, "lithium-oxide", spacing=0.5, n=2)
    assert evaluation.model.name == trained.name
    assert len(evaluation.errors.nmae) == 2
