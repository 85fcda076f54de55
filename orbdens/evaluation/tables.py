"""The tables of evaluations, for the terminal and for HTML alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbdens.evaluation.result import Evaluation

if TYPE_CHECKING:
    from orbdens.config import BasisConfig
    from orbdens.evaluation.basis_floor import Fit


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column is a name, all others are figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: str


def evaluation_table(evaluation: Evaluation) -> Table:
    """One model: a row for each kind of error."""
    summary, cost, on = evaluation.summary(), evaluation.cost, evaluation.measured_on
    rows = [
        [name, *(f"{x:.{digits}f}" for x in (row.mean, row.median, row.p95, row.max))]
        for name, digits, row in (
            ("NMAE [%]", 3, summary["nmae"]),
            ("   near nuclei (r < 0.5 Å)", 3, summary["nuclei"]),
            ("   in bonds", 3, summary["bonds"]),
            ("   in the tail (r > 2 Å)", 3, summary["tail"]),
            ("|electron count error| [e]", 6, summary["electrons"]),
            ("|dipole error| [Debye]", 4, summary["dipole"]),
            ("negative part [% of electrons]", 4, summary["negative"]),
        )
    ]
    correlation = evaluation.rank_correlation()
    trust = "" if correlation is None else f" Rank correlation of expected and true NMAE: {correlation:.2f}."
    grid = "their own grids" if on.spacing is None else f"a {on.spacing:g} Å grid with {on.margin:g} Å margin"
    return Table(
        title=f"{evaluation.model.name} on {on.store}, split {on.split}: {len(evaluation.errors.keys)} structures",
        columns=["error", "mean", "median", "95th", "max"],
        rows=rows,
        notes=f"On {grid}. {cost.structures_per_s:.1f} structures/s, peak memory {cost.peak_memory_mb:.0f} MB." + trust,
    )


def comparison_table(evaluations: Sequence[Evaluation]) -> Table:
    """Many models: a row for each, best mean NMAE first."""
    rows = []
    for evaluation in sorted(evaluations, key=lambda e: e.summary()["nmae"].mean):
        summary, model = evaluation.summary(), evaluation.model
        nmae = summary["nmae"]
        rows.append(
            [
                model.name,
                *(f"{x:.3f}" for x in (nmae.mean, nmae.median, nmae.p95, nmae.max)),
                f"{summary['electrons'].mean:.2g}",
                f"{summary['dipole'].mean:.3f}",
                f"{evaluation.cost.structures_per_s:.1f}",
                f"{model.n_parameters / 1000:.0f} k",
                "?" if model.training_minutes is None else f"{model.training_minutes:.1f}",
            ]
        )
    on = evaluations[0].measured_on
    return Table(
        title=f"{on.store}, split {on.split}: {len(evaluations[0].errors.keys)} structures",
        columns=[
            "model",
            "NMAE mean [%]",
            "median [%]",
            "95th [%]",
            "max [%]",
            "N_el error [e]",
            "dipole error [Debye]",
            "speed [1/s]",
            "weights",
            "time [min]",
        ],
        rows=rows,
        notes="NMAE of a structure: 100 · Σ|Δρ| / Σ|ρ| over its points. Errors of electron count and dipole: mean "
        "sizes. Speed: structures predicted on the grid per second. Weights: learned numbers. Time: training.",
    )


def fit_table(fit: Fit) -> Table:
    """The floor of a basis: a row for each kind of error, and how to put the basis in a config."""
    summary, model = fit.summary(), fit.model
    kinds = [
        ("NMAE [%]", 4, "nmae"),
        ("   near nuclei (r < 0.5 Å)", 4, "nuclei"),
        ("   in bonds", 4, "bonds"),
        ("   in the tail (r > 2 Å)", 4, "tail"),
        *((f"   nearest to {symbol}", 4, f"at {symbol}") for symbol in fit.elements),
        *((f"NMAE of points nearest to {symbol} [%]", 4, f"within {symbol}") for symbol in fit.elements),
        ("L2 error [%]", 4, "l2"),
        ("|electron count error| [e]", 6, "electrons"),
        ("coefficients per structure", 0, "coefficients"),
    ]
    rows = [
        [name, *(f"{x:.{digits}f}" for x in (row.mean, row.median, row.p95, row.max))]
        for name, digits, row in ((name, digits, summary[key]) for name, digits, key in kinds)
    ]
    radial = "; ".join(f"{kind} {' '.join(map(str, counts))}" for kind, counts in fit.radial_functions.items())
    if fit.spacing is None:
        grid = "their own grids; fitted to a sample of their points, so that the floor may lie lower"
    else:
        grid = f"a {fit.spacing:g} Å grid with {fit.margin:g} Å margin"
    return Table(
        title=f"Floor of the basis on {fit.store}, split {fit.split}: {len(fit.keys)} structures",
        columns=["error of the fit", "mean", "median", "95th", "max"],
        rows=rows,
        notes=f"On {grid}. The fits are closest in L2; a network trained on them has about their NMAE at best.\n"
        f"Radial functions of l = 0, 1, ...: {radial}.\n"
        f"To train with this basis, write in the section `model` of a config, whose own `l_max` must not be smaller:\n"
        f"  sites: {model.sites}\n  basis: {{{_options(model.basis, virtual=model.sites != 'atoms')}}}",
    )


def _options(basis: BasisConfig, virtual: bool) -> str:
    """Options of a basis as YAML, for a line or two."""
    own = basis.model_dump(exclude={"virtual", "table"} | ({"min_exponent"} if basis.min_exponent == 0 else set()))
    parts = [own, basis.virtual.model_dump()] if virtual else [own]
    lines = [
        ", ".join(f"{name}: {value if isinstance(value, str) else f'{value:g}'}" for name, value in part.items())
        for part in parts
    ]
    return ",\n    virtual: {".join(lines) + "}" * virtual + (",\n    table: as before" if basis.table else "")
