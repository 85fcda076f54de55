"""The contract that every model keeps, as functions: for the models here and for those of other people.

In a test of your own::

    from orbdens.testing import CHECKS, CLAIMS

    @pytest.mark.parametrize("check", CHECKS + CLAIMS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(my_model, a_molecule)

or ``check_model(my_model, a_molecule)`` for all of them at once. Each raises AssertionError with what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from orbdens.checkpoint import load_model, save_model
from orbdens.config import Config
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.models.interface import DensityModel
from orbdens.models.task import GradientTask
from orbdens.structure import Structure

Check = Callable[[DensityModel, Structure], None]


def values_are_finite_and_of_the_grid_s_shape(model: DensityModel, molecule: Structure) -> None:
    """``on`` gives float32 of the grid's shape, the values that ``at`` gives at its points."""
    density = model.predict(molecule)
    grid = Grid.around(molecule, 0.5, 2.0)
    values = density.on(grid)
    assert values.shape == grid.shape, f"values have shape {values.shape}, the grid {grid.shape}"
    assert values.dtype == np.float32, f"values are {values.dtype}, not float32"
    assert np.isfinite(values).all(), "some values are not finite"
    _same(values.reshape(-1), density.at(grid.points()), 1e-5, "on a grid and at its points")


def points_may_come_in_chunks(model: DensityModel, molecule: Structure) -> None:
    """Values do not depend on which points are asked for together; no points give no values."""
    density, points = model.predict(molecule), _points(molecule)
    parts = np.concatenate([density.at(points[:7]), density.at(points[7:8]), density.at(points[8:])])
    _same(parts, density.at(points), 1e-5, "in chunks and at once")
    assert density.at(np.zeros((0, 3))).shape == (0,), "no points should give no values"


def a_batch_gives_what_single_structures_give(model: DensityModel, molecule: Structure) -> None:
    """Structures of a batch do not see each other."""
    stretched = replace(molecule, positions=1.05 * molecule.positions)
    structures, points = [molecule, stretched, molecule], _points(molecule)
    for structure, density in zip(structures, model.predict(structures), strict=True):
        _same(density.at(points), model.predict(structure).at(points), 1e-6, "in a batch and alone")


def order_of_atoms_does_not_matter(model: DensityModel, molecule: Structure) -> None:
    """The same molecule with its atoms in another order has the same density."""
    order, points = np.random.default_rng(2).permutation(molecule.n_atoms), _points(molecule)
    shuffled = replace(molecule, numbers=molecule.numbers[order], positions=molecule.positions[order])
    _same(model.predict(shuffled).at(points), model.predict(molecule).at(points), 1e-5, "in two orders of the atoms")


def a_shifted_molecule_has_a_shifted_density(model: DensityModel, molecule: Structure) -> None:
    """Where the origin is means nothing."""
    shift, points = np.array([3.7, -1.2, 0.4]), _points(molecule)
    moved = replace(molecule, positions=molecule.positions + shift)
    _same(model.predict(moved).at(points + shift), model.predict(molecule).at(points), 1e-4, "here and shifted")


def what_cannot_be_predicted_is_told(model: DensityModel, molecule: Structure) -> None:
    """An unknown element, coordinates that are no numbers, and atoms on one spot are ``UserError``s."""
    unknown = next(z for z, symbol in ((118, "Og"), (117, "Ts")) if symbol not in model.facts["valence_electrons"])
    for what, structure in (
        ("an unknown element", Structure(np.array([unknown]), np.zeros((1, 3)))),
        ("no numbers", replace(molecule, positions=np.full_like(molecule.positions, np.nan))),
        ("one spot", replace(molecule, positions=np.zeros_like(molecule.positions))),
    ):
        try:
            model.predict(structure)
        except UserError:
            continue
        raise AssertionError(f"predict took a structure with {what}")


def a_turned_molecule_has_a_turned_density(model: DensityModel, molecule: Structure) -> None:
    """Rotations, and the dipole with them."""
    _turned(model, molecule, _rotation())


def a_mirrored_molecule_has_a_mirrored_density(model: DensityModel, molecule: Structure) -> None:
    """Rotations with inversion: all of O(3)."""
    _turned(model, molecule, -_rotation())


def electrons_are_exact(model: DensityModel, molecule: Structure) -> None:
    """The density holds the electrons it must, as far as single precision goes."""
    found, expected = model.predict(molecule).n_electrons, model.count_electrons(molecule)
    assert abs(found - expected) < 1e-5, f"{found} electrons of {expected}"


CHECKS: list[Check] = [
    values_are_finite_and_of_the_grid_s_shape,
    points_may_come_in_chunks,
    a_batch_gives_what_single_structures_give,
    order_of_atoms_does_not_matter,
    a_shifted_molecule_has_a_shifted_density,
    what_cannot_be_predicted_is_told,
]
"""What every model keeps, for a molecule of elements it knows."""

SYMMETRIES: list[Check] = [
    a_turned_molecule_has_a_turned_density,
    a_mirrored_molecule_has_a_mirrored_density,
]
"""What a model keeps whose class says that it is ``equivariant``."""

CLAIMS: list[Check] = [*SYMMETRIES, electrons_are_exact]
"""What a model keeps only if it says so, as ``claims`` finds."""


def claims(model: DensityModel) -> list[Check]:
    """Those of ``CLAIMS`` that a model makes: symmetry by ``equivariant``, the last by ``exact_electrons``."""
    return (SYMMETRIES if model.equivariant else []) + ([electrons_are_exact] if model.exact_electrons else [])


def check_model(model: DensityModel, molecule: Structure) -> None:
    """All checks that hold for a model.

    Args:
        model: any.
        molecule: a molecule of elements it knows.

    Raises:
        AssertionError: with what was found.
    """
    for check in CHECKS + claims(model):
        check(model, molecule)


def check_lattice_shift(model: DensityModel, crystal: Structure) -> None:
    """An atom moved by a lattice vector is the same crystal; for models that take periodic structures."""
    assert crystal.cell is not None
    points, positions = _points(crystal), crystal.positions.copy()
    positions[0] += crystal.cell[0] - crystal.cell[2]
    moved = replace(crystal, positions=positions)
    _same(model.predict(moved).at(points), model.predict(crystal).at(points), 1e-4, "with an atom in another cell")


def check_saved_model(model: DensityModel, config: Config, molecule: Structure) -> None:
    """A model that was written and read again predicts the same, bit for bit.

    Args:
        model: any.
        config: the run it is from; its section ``model`` is the model's.
        molecule: a molecule of elements it knows.
    """
    with TemporaryDirectory() as folder:
        save_model(Path(folder) / "model.safetensors", model, config, {"steps": 0})
        again = load_model(folder)
    points = _points(molecule)
    assert np.array_equal(again.predict(molecule).at(points), model.predict(molecule).at(points)), "it changed on disk"


def check_gradients(task: GradientTask[DensityModel], keys: list[str]) -> None:
    """The losses of all stages together depend on every weight.

    Args:
        task: ready to learn.
        keys: keys of training records that differ in all the model should look at (elements, bonds, charge, ...).
    """
    task.model.zero_grad()
    for stage in task.stages:
        examples = [stage.example(key, np.random.default_rng(i)) for i, key in enumerate(keys)]
        stage.loss(stage.collate(examples)).backward()  # type: ignore[no-untyped-call]
    silent = [
        name
        for name, weight in task.model.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.isfinite().all() or not weight.grad.any())
    ]
    assert not silent, f"no gradient reaches {', '.join(silent)}"


def _turned(model: DensityModel, molecule: Structure, turn: NDArray[np.float64]) -> None:
    points = _points(molecule)
    one, other = model.predict([molecule, replace(molecule, positions=molecule.positions @ turn.T)])
    _same(other.at(points @ turn.T), one.at(points), 1e-5, "turned and not")
    assert np.allclose(other.dipole, one.dipole @ turn.T, atol=1e-5), f"dipoles {other.dipole}, {one.dipole @ turn.T}"


def _rotation() -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    matrix: NDArray[np.float64] = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    return matrix


def _points(structure: Structure) -> NDArray[np.float64]:
    """Points within a few Å of the atoms [300, 3]."""
    rng = np.random.default_rng(1)
    return structure.positions[rng.integers(structure.n_atoms, size=300)] + rng.normal(size=(300, 3))


def _same(found: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float, where: str) -> None:
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    assert difference < tolerance, f"densities {where} differ by {difference:.1e} of the largest value"
