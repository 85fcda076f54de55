"""The tables of evaluations and floors, for the terminal and for HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbdens.evaluation.result import Evaluation, MeasuredOn
from orbdens.metrics import REGIONS, Summary

if TYPE_CHECKING:
    from orbdens.evaluation.basis_floor import Floor
    from orbdens.models.basis_options import BasisConfig

ROWS = {
    "nmae": "NMAE [%]",
    **{region: f"   {label}" for region, label in REGIONS.items()},
    "off_grid": "NMAE half a step off the grid [%]",
    "turned": "NMAE of molecules turned at random [%]",
    "l2": "L2 error [%]",
    "electrons": "|electron count error| [e]",
    "dipole": "|dipole error| [Debye]",
    "contact": "|error of the density at nuclei| [%]",
    "potential": "potential on the surface [kcal/mol/e]",
    "hirshfeld": "|Hirshfeld charge error| [e]",
    "mbis": "|MBIS charge error| [e]",
    "negative": "negative part [% of electrons]",
    "coefficients": "coefficients per structure",
}
"""What tables call the figures of a summary."""

NORMS = {"overlap": "L2", "coulomb": "Coulomb energy"}
"""What tables call the metrics of fits."""

ELEMENT_ROWS = {"at": "   nearest to {}", "within": "NMAE of points nearest to {} [%]"}
"""As ``ROWS``, for figures such as ``at C``."""

DIGITS = {"electrons": 6, "dipole": 4, "hirshfeld": 4, "mbis": 4, "negative": 4, "coefficients": 0}
"""Decimals of figures that are no share of the NMAE."""


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column is a name, all others are figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: str


def evaluation_table(evaluation: Evaluation) -> Table:
    """One model: a row for each kind of error."""
    cost, on = evaluation.cost, evaluation.measured_on
    correlation = evaluation.rank_correlation()
    trust = "" if correlation is None else f" Rank correlation of expected and true NMAE: {correlation:.2f}."
    memory = "" if cost.peak_memory_mb is None else f", peak memory {cost.peak_memory_mb:.0f} MB"
    return Table(
        title=f"{evaluation.model.name} on {on.store}, split {on.split}: {len(evaluation.errors.keys)} structures",
        columns=["error", "mean", "median", "95th", "max"],
        rows=_rows(evaluation.summary(), digits=3),
        notes=f"On {points_phrase(on)}. {cost.structures_per_s:.1f} structures/s{memory}."
        + trust
        + _states(evaluation),
    )


def _states(evaluation: Evaluation) -> str:
    """The charges and multiplicities that were used, and how many structures the model called extrapolations."""
    states = [
        f"charge {charge:+d}, multiplicity {multiplicity}: {n} structure{'s' if n > 1 else ''}"
        for charge, multiplicity, n in evaluation.states()
    ]
    flagged = evaluation.errors.flagged or []
    doubts = f"\nWith a warning of the model: {sum(flagged)} of {len(flagged)} structures." if any(flagged) else ""
    return (f"\nUsed {'; '.join(states)}." if states else "") + doubts


def comparison_table(evaluations: Sequence[Evaluation], wide: bool = False) -> Table:
    """Many models: a row for each, best mean NMAE first.

    Args:
        evaluations: on the same structures and points.
        wide: with regions and memory, which are too much for a terminal.
    """
    rows = []
    moved = {"off_grid": "off grid [%]", "turned": "turned [%]"}
    regions = {region: f"{label} [%]" for region, label in REGIONS.items()}
    more = {name: title for name, title in (moved | regions).items() if any(name in e.summary() for e in evaluations)}
    more = {name: title for name, title in more.items() if wide or name in moved}
    for evaluation in sorted(evaluations, key=lambda e: e.summary()["nmae"].mean):
        summary, model = evaluation.summary(), evaluation.model
        nmae = summary["nmae"]
        rows.append(
            [
                model.name,
                *(f"{x:.3f}" for x in (nmae.mean, nmae.median, nmae.p95, nmae.max)),
                *(f"{summary[name].mean:.3f}" if name in summary else "–" for name in more),
                f"{summary['electrons'].mean:.2g}",
                f"{summary['dipole'].mean:.3f}" if "dipole" in summary else "–",
                f"{evaluation.cost.structures_per_s:.1f}",
                _count(model.n_parameters),
                "?" if model.training_minutes is None else f"{model.training_minutes:.1f}",
                *([_memory(evaluation.cost.training_memory_mb), _memory(evaluation.cost.peak_memory_mb)] * wide),
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
            *more.values(),
            "N_el error [e]",
            "dipole error [Debye]",
            "speed [1/s]",
            "weights",
            "time [min]",
            *["memory to train [MB]", "to predict [MB]"] * wide,
        ],
        rows=rows,
        notes=f"NMAE of a structure: 100 · Σ|Δρ| / Σ|ρ| on {points_phrase(on)}. "
        "Errors of electron count and dipole: mean sizes. Speed: structures predicted on these points per second. "
        "Weights: learned numbers. Time: training."
        + " Off grid: mean NMAE half a step off those points; turned: of molecules turned at random."
        * ("turned" in more),
    )


def _count(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1000:.0f} k"


def _memory(megabytes: float | None) -> str:
    return "?" if megabytes is None else f"{megabytes:.0f}"


def floor_table(floor: Floor) -> Table:
    """The floor of a basis: a row for each kind of error, and how to put the basis in a config."""
    model = floor.model
    radial = "; ".join(f"{site} {' '.join(map(str, counts))}" for site, counts in floor.radial_functions.items())
    points = points_phrase(floor)
    if floor.spacing is None and floor.quadrature is None:
        points += "; fitted to a sample of their points, so that the floor may lie lower"
    return Table(
        title=f"Floor of the basis on {floor.store}, split {floor.split}: {len(floor.keys)} structures",
        columns=["error of the fit", "mean", "median", "95th", "max"],
        rows=_rows(floor.summary(), digits=4),
        notes=f"On {points}. The fits are closest in {NORMS[floor.metric]}; a network trained on them has about their "
        "NMAE at best.\n"
        f"Radial functions of l = 0, 1, ...: {radial}.\n"
        f"To train with this basis, write in the section `model` of a config, whose own `l_max` must not be smaller:\n"
        f"  sites: {model.sites}\n  basis: {{{_options(model.basis, virtual=model.sites != 'atoms')}}}",
    )


def points_phrase(on: MeasuredOn | Floor) -> str:
    """Where densities were compared."""
    if on.quadrature is not None:
        return f"a quadrature about the atoms (Becke, Lebedev; PySCF's level {on.quadrature}), as they have cores"
    return "their own grids or points" if on.spacing is None else f"a {on.spacing:g} Å grid with {on.margin:g} Å margin"


def _rows(summary: Mapping[str, Summary], digits: int) -> list[list[str]]:
    """A row for every figure, in their order; ``digits`` are those of the NMAE and its shares."""
    rows = []
    for name, figure in summary.items():
        group, _, symbol = name.partition(" ")
        label = ELEMENT_ROWS[group].format(symbol) if symbol else ROWS[name]
        decimals = DIGITS.get(name, digits)
        rows.append([label, *(f"{x:.{decimals}f}" for x in (figure.mean, figure.median, figure.p95, figure.max))])
    return rows


def _options(basis: BasisConfig, virtual: bool) -> str:
    """Options of a basis as YAML, for a line or two."""
    options = basis.model_dump(exclude={"virtual", "table"} | ({"min_exponent"} if basis.min_exponent == 0 else set()))
    parts = [options, basis.virtual.model_dump()] if virtual else [options]
    lines = [
        ", ".join(f"{name}: {f'{value:g}' if isinstance(value, float) else value}" for name, value in part.items())
        for part in parts
    ]
    return ",\n    virtual: {".join(lines) + "}" * virtual + (",\n    table: as before" if basis.table else "")
