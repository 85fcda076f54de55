"""The tables of evaluations, for the terminal and for HTML alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbdens.evaluation import Evaluation


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
        )
    ]
    grid = "their own grids" if on.spacing is None else f"a {on.spacing:g} Å grid with {on.margin:g} Å margin"
    return Table(
        title=f"{evaluation.model.name} on {on.store}, split {on.split}: {len(evaluation.errors.keys)} structures",
        columns=["error", "mean", "median", "95th", "max"],
        rows=rows,
        notes=f"On {grid}. {cost.structures_per_s:.1f} structures/s, peak memory {cost.peak_memory_mb:.0f} MB.",
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
