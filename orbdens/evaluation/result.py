"""The file that ``orbdens evaluate --json`` writes and ``orbdens compare`` reads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orbdens.errors import UserError
from orbdens.evaluation.slices import edges
from orbdens.files import written_whole
from orbdens.metrics import Summary


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ModelFacts(_Part):
    """Which model it is."""

    name: str = Field(description="what tables call it")
    kind: str = Field(description="as in the config's model.kind")
    n_parameters: int
    training_minutes: float | None = Field(description="wall time of all training steps, where the checkpoint says")


class MeasuredOn(_Part):
    """What it was measured on; files with different ones cannot be compared."""

    store: str = Field(description="name of the store's folder")
    split: str
    fingerprint: str = Field(description="hash of the structures' elements and coordinates")
    spacing: float | None = Field(description="Å; null for grid records, on their own grids, and on a quadrature")
    margin: float | None = Field(description="Å")
    quadrature: int | None = Field(
        None,
        description="level of the quadrature by Becke and Lebedev (as PySCF counts, 0 to 9) on which densities with "
        "cores are compared instead; null on grids",
    )


class Errors(_Part):
    """Errors per structure, all in the same order."""

    keys: list[str]
    nmae: list[float] = Field(description="%")
    electrons: list[float] = Field(description="predicted minus exact electron count")
    dipole: list[float | None] = Field(description="Debye; null for periodic structures, which have no dipole")
    regions: dict[str, list[float]] = Field(description="share of each region in the NMAE, %")
    negative: list[float] = Field(description="negative part of the predicted density, % of its electrons")
    expected: list[float] | None = Field(
        None, description="NMAE that the model itself expected, %; null if it does not"
    )
    charges: list[int] | None = Field(None, description="total charge that the model was told, e; null in old files")
    multiplicities: list[int] | None = Field(None, description="2S + 1, likewise")
    flagged: list[bool] | None = Field(
        None, description="the model called its prediction an extrapolation; null in old files"
    )
    off_grid: list[float] | None = Field(
        None,
        description="NMAE half a step off the points of the grid, %; null if not asked for, or references do not know",
    )
    turned: list[float] | None = Field(
        None, description="NMAE of the molecules turned at random, %; null if not asked for, or they are periodic"
    )
    contact: list[float] | None = Field(
        None, description="mean relative error of the density at nuclei, %; null where references know none"
    )
    potential: list[float] | None = Field(
        None,
        description="RMS error of the electrostatic potential on the surface at 1.4, 1.6, 1.8 and 2.0 van der Waals "
        "radii, kcal/mol per e; null if it was not asked for",
    )
    atomic_charges: dict[str, list[float]] = Field(
        {}, description="mean magnitude of the errors of atomic charges, e, by scheme; empty if not asked for"
    )


class Slice(_Part):
    """Two densities on a plane through a molecule, in its own coordinates."""

    key: str
    formula: str
    step: float = Field(description="Å")
    corner: tuple[float, float] = Field(description="Å; in-plane coordinates of the first point")
    atoms: list[tuple[str, float, float, float]] = Field(description="symbol, two in-plane coordinates, height; Å")
    reference: list[list[float]] = Field(description="e/Å³; first index along the first in-plane axis")
    predicted: list[list[float]] = Field(description="e/Å³")

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge in Å."""
        return edges(self.corner, self.step, (len(self.reference), len(self.reference[0])))

    def images(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Reference and prediction in e/Å³ [rows from bottom to top, columns from left to right]."""
        return np.array(self.reference).T, np.array(self.predicted).T


class Cost(_Part):
    """What the prediction took."""

    training_memory_mb: float | None = Field(
        None, description="largest resident memory of the process that trained it; null if not known"
    )
    structures_per_s: float = Field(description="encoding and the density on the whole grid; no reference, no files")
    peak_memory_mb: float | None = Field(description="largest resident memory of the process; null if not known")
    peak_gpu_memory_mb: float | None


class Evaluation(_Part):
    """One model measured on one split of one store."""

    format: Literal["orbdens evaluation"] = "orbdens evaluation"
    format_version: Literal[1] = 1
    model: ModelFacts
    measured_on: MeasuredOn
    errors: Errors
    slice: Slice | None = Field(description="null where references are known at points of their own alone")
    cost: Cost
    machine: dict[str, str | int | float]
    versions: dict[str, str]

    def summary(self) -> dict[str, Summary]:
        """Summaries of nmae and each region [%], electrons (magnitudes), dipole [Debye], contact
        density [%], potential [kcal/mol per e], charges of atoms by scheme [e] and negative [%], in order.

        There is none of dipoles where no structure has one, and of potentials and charges where they were not measured.
        """
        dipoles = [error for error in self.errors.dipole if error is not None]
        errors = {"nmae": self.errors.nmae, **self.errors.regions}
        errors |= {"off_grid": self.errors.off_grid} if self.errors.off_grid else {}
        errors |= {"turned": self.errors.turned} if self.errors.turned else {}
        errors["electrons"] = self.errors.electrons
        errors |= {"dipole": dipoles} if dipoles else {}
        errors |= {"contact": self.errors.contact} if self.errors.contact else {}
        errors |= {"potential": self.errors.potential} if self.errors.potential else {}
        errors |= self.errors.atomic_charges
        errors["negative"] = self.errors.negative
        return {name: Summary.of(values) for name, values in errors.items()}

    def states(self) -> list[tuple[int, int, int]]:
        """Charge, multiplicity and how many structures had them, the commonest first; none where a file is old."""
        if self.errors.charges is None or self.errors.multiplicities is None:
            return []
        counts = Counter(zip(self.errors.charges, self.errors.multiplicities, strict=True))
        return [(charge, multiplicity, n) for (charge, multiplicity), n in counts.most_common()]

    def rank_correlation(self) -> float | None:
        """Spearman's, of expected and true NMAE; None where nothing is expected or structures are few."""
        if self.errors.expected is None or len(self.errors.nmae) < 3:
            return None
        from scipy.stats import spearmanr

        return float(spearmanr(self.errors.expected, self.errors.nmae).statistic)

    def write(self, path: Path) -> None:
        """Write as JSON, summaries included for other programs, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        tree = self.model_dump()
        tree["summary"] = {name: vars(summary) for name, summary in self.summary().items()}
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(tree) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """The inverse of ``write``.

        Raises:
            UserError: no such file, or not written by ``orbdens evaluate`` of this format version.
        """
        expected = "a file of orbdens evaluate --json"
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
        except ValueError:
            raise UserError(f"{path} is not {expected}: it is not JSON") from None
        if not isinstance(tree, dict):
            raise UserError(f"{path} is not {expected}")
        tree.pop("summary", None)
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            if place == "format_version":
                known = cls.model_fields["format_version"].default
                raise UserError(
                    f"{path} has format version {first['input']}; this orbdens reads version {known}"
                ) from None
            raise UserError(f"{path} is not {expected}: {place}: {first['msg'].lower()}") from None
