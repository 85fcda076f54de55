"""From a CIF and its reflections to a table of form factors, and to a structure refined with it: the verb ``xray``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.crystal import Crystal
from orbdens.crystals.molecules import Molecule
from orbdens.crystals.refinement import Refinement, check_cctbx, hydrogen_bond_lengths, mean_length, refine
from orbdens.crystals.tables import Predict, crystal_form_factors
from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.formats.cif import read_cif, read_reflections, write_cif
from orbdens.formats.hkl import Reflections
from orbdens.formats.tsc import write_tsc
from orbdens.progress import Progress, silent


@dataclass(frozen=True)
class Request:
    """What to compute and where it goes.

    Attributes:
        cif: the crystal, and perhaps its reflections.
        hkl: reflections, HKLF 4 or CIF; None takes those in the CIF.
        model: model.safetensors, the run folder that holds it, or None for the weights that ship.
        charges: total charges in e of molecules, by the label of one of their atoms.
        d_min: Å; all reflections down to this spacing, besides those of the file.
        passes: refinements, each with the form factors at the geometry of the one before; 0 writes the table alone.
        out: file of the table; None takes the CIF's name in the current folder.
        json: file for figures, or None.
        force: replace files that exist.
        device: where to compute, as in ``devices``.
    """

    cif: Path
    hkl: Path | None = None
    model: Path | None = None
    charges: Mapping[str, int] | None = None
    d_min: float | None = None
    passes: int = 0
    out: Path | None = None
    json: Path | None = None
    force: bool = False
    device: str = "auto"

    @property
    def table(self) -> Path:
        """Where the table goes."""
        return self.out if self.out is not None else Path(f"{self.cif.stem}.tsc")

    @property
    def refined(self) -> Path:
        """Where the refined crystal goes."""
        return self.table.with_suffix(".refined.cif")


@dataclass(frozen=True, eq=False)
class Stage:
    """One refinement: with which form factors, and what came of it."""

    name: str
    refinement: Refinement

    @property
    def figures(self) -> dict[str, object]:
        """Everything worth reporting, by name."""
        found = self.refinement
        bonds = hydrogen_bond_lengths(found.crystal)
        return {
            "form_factors": self.name,
            "r1_percent": found.r1,
            "wr2_percent": found.wr2,
            "goodness_of_fit": found.goodness_of_fit,
            "n_reflections": found.n_reflections,
            "n_strong": found.n_strong,
            "n_parameters": found.n_parameters,
            "mean_ch_angstrom": mean_length(bonds, found.crystal),
            "xh_angstrom": {f"{heavy}-{hydrogen}": length for heavy, hydrogen, length in bonds},
        }


@dataclass(frozen=True, eq=False)
class Result:
    """What was written, and what is known of it.

    Attributes:
        table: the file of form factors.
        refined: the CIF of the refined crystal, if there was a refinement.
        n_reflections: in the table.
        molecules: of which the crystal is made.
        densities: of each, as predicted.
        stages: refinements, the first with spherical atoms.
    """

    table: Path
    refined: Path | None
    n_reflections: int
    molecules: list[Molecule]
    densities: list[Density]
    stages: list[Stage]


def xray(request: Request, progress: Progress = silent) -> Result:
    """Predict form factors of a crystal's atoms, and refine it with them where that is asked for.

    Everything is written at the end: a mistake leaves no file.

    Raises:
        UserError: an input cannot be read or makes no sense, the model does not know an element, an output file
            exists, or cctbx is asked for and not there.
    """
    crystal, within = read_cif(request.cif)
    reflections = within if request.hkl is None else read_reflections(request.hkl)
    indices = _indices(crystal, reflections, request)
    outputs = [request.table, *([request.refined] if request.passes else []), *([request.json] if request.json else [])]
    for path in outputs:
        check_output(path, request.force)
    if request.passes:
        check_cctbx()
    from orbdens.checkpoint import load_model

    predict = load_model(request.model, request.device).predict
    stages: list[Stage] = []
    if request.passes and reflections is not None:
        factors, whole, densities = _refined(crystal, reflections, indices, predict, request, stages, progress)
    else:
        factors, whole, densities = crystal_form_factors(crystal, indices, predict, request.charges)
    write_tsc(request.table, crystal.labels, indices, factors, crystal.name)
    if stages:
        last = stages[-1].refinement
        facts = {
            "_refine_ls_R_factor_gt": last.r1 / 100,
            "_refine_ls_wR_factor_ref": last.wr2 / 100,
            "_refine_ls_goodness_of_fit_ref": last.goodness_of_fit,
            "_reflns_number_total": last.n_reflections,
            "_refine_ls_number_parameters": last.n_parameters,
        }
        write_cif(request.refined, last.crystal, facts)
    if request.json is not None:
        content = {"crystal": crystal.name, "n_reflections": len(indices), "stages": [s.figures for s in stages]}
        with written_whole(request.json) as file:
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    refined = request.refined if stages else None
    return Result(request.table, refined, len(indices), whole, densities, stages)


def _refined(
    crystal: Crystal,
    reflections: Reflections,
    indices: NDArray[np.int64],
    predict: Predict,
    request: Request,
    stages: list[Stage],
    progress: Progress,
) -> tuple[NDArray[np.complex128], list[Molecule], list[Density]]:
    """Refine with spherical atoms, then with predicted ones as often as asked for; what the last pass used."""
    stages.append(Stage("spherical atoms", refine(crystal, reflections)))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, request.passes + 1):
            now = crystal if number == 1 else stages[-1].refinement.crystal
            used = crystal_form_factors(now, indices, predict, request.charges)
            table = Path(folder) / f"{number}.tsc"
            write_tsc(table, crystal.labels, indices, used[0])
            stages.append(Stage(f"predicted, pass {number}", refine(now, reflections, table)))
            progress("refining", number, request.passes)
    return used


def _indices(crystal: Crystal, reflections: Reflections | None, request: Request) -> NDArray[np.int64]:
    """All reflections that the table must hold."""
    if request.passes and reflections is None:
        raise UserError(f"{request.cif} holds no reflections to refine against: give a HKL file")
    if reflections is None and request.d_min is None:
        raise UserError(f"{request.cif} holds no reflections: give a HKL file, or --d-min for all down to a spacing")
    asked = np.zeros((0, 3), dtype=np.int64) if reflections is None else crystal.equivalents(reflections.indices)
    if request.d_min is not None:
        asked = np.unique(np.concatenate([asked, crystal.reflections(request.d_min)]), axis=0)
    return asked
