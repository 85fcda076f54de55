"""The report of a comparison: one self-contained page, every picture as PNG and SVG, and all figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from orbdens.checkpoint import load_model
from orbdens.evaluation.page import html_table, write_page
from orbdens.evaluation.pictures import STYLE, Picture, draw, write_pictures
from orbdens.evaluation.result import Evaluation
from orbdens.evaluation.tables import Table, comparison_table, points_phrase
from orbdens.files import check_output, written_whole
from orbdens.labels import stored_density
from orbdens.routes.curves import Curve, draw_curves, draw_sizes, error_by_atoms
from orbdens.routes.plan import Plan, Route
from orbdens.store import Store, open_store
from orbdens.viewing import view

MOST_SHOWN = 12 << 20
"""Bytes of the views of two structures at most; larger ones are left out."""


@dataclass(frozen=True)
class Results:
    """What a comparison found.

    Attributes:
        evaluations: of the routes, best mean NMAE first.
        models: folder or file of the trained model, by name of the route.
        curves: validation error over time, by name of the route.
        sizes: mean NMAE on the split, by name of the route and number of training structures.
        failed: what went wrong, by name of the route.
    """

    evaluations: Sequence[Evaluation]
    models: Mapping[str, Path]
    curves: Mapping[str, Curve]
    sizes: Mapping[str, Mapping[int, float]]
    failed: Mapping[str, str]


def write(out: Path, results: Results, store: str, plan: Plan, routes: Sequence[Route]) -> Table:
    """Write ``report.html``, ``report.json`` and the pictures; the table as a terminal holds it.

    Args:
        out: folder of the comparison.
        results: at least one evaluation.
        store: that all were measured on.
        plan: the terms.
        routes: of the comparison.

    Raises:
        UserError: a file cannot be written.
    """
    records = open_store(store)
    table, found = comparison_table(results.evaluations, wide=True), results.evaluations
    pictures = _pictures(results, records)
    check_output(out / "pictures" / "errors.png", force=True)
    write_pictures(out / "pictures", pictures)
    shown = _views(results, records, plan.device)
    on, machine = results.evaluations[0].measured_on, results.evaluations[0].machine
    seeds = {route.name: route.load().training.seed for route in routes if route.config is not None}
    versions = ", ".join(f"{name} {number}" for name, number in results.evaluations[0].versions.items())
    cores = f"{machine.get('cpu', '?')}, {plan.threads} of {machine.get('cores', '?')} cores for each route"
    seed = f"; seed {next(iter(seeds.values()))}" if len(set(seeds.values())) == 1 else f"; seeds {seeds}" * bool(seeds)
    wrong = "".join(f"<p>{escape(name)} failed: {escape(reason)}</p>" for name, reason in results.failed.items())
    write_page(
        out / "report.html",
        title=f"Routes to the electron densities of {on.store}",
        lead=f"{len(found)} routes, measured on the {len(found[0].errors.keys)} structures of split  “{on.split}”, "
        f"on {points_phrase(on)}. {terms(plan)}",
        table=html_table(table.columns, table.rows, table.notes) + wrong,
        pictures=pictures.values(),
        below="".join(shown),
        foot=f"{cores}; {versions}{seed}.",
    )
    _write_json(out / "report.json", results, plan, table, seeds)
    return comparison_table(found)


def terms(plan: Plan) -> str:
    """How long everybody learned, in a sentence."""
    if plan.minutes is not None:
        return f"Models that learn by steps had {plan.minutes:g} minutes each."
    if plan.steps is not None:
        return f"Models that learn by steps made {plan.steps} steps each."
    return "Each was trained for as long as its config says."


def _pictures(results: Results, store: Store) -> dict[str, Picture]:
    import matplotlib

    pictures = draw(results.evaluations)
    with matplotlib.rc_context(STYLE):
        if any(len(curve.minutes) > 1 for curve in results.curves.values()):
            pictures["time"] = draw_curves(results.curves)
        if results.sizes:
            pictures["sizes"] = draw_sizes(results.sizes)
        by_atoms = error_by_atoms(results.evaluations, store)
        if by_atoms is not None:
            pictures["atoms"] = by_atoms
    return pictures


def _views(results: Results, store: Store, device: str) -> list[str]:
    """The median and the worst structure of the best model, to turn: frames for the page."""
    best = results.evaluations[0]
    model = results.models.get(best.model.name)
    if model is None:
        return []
    order = sorted(range(len(best.errors.nmae)), key=lambda i: best.errors.nmae[i])
    network, frames, size = load_model(model, device), [], 0
    for what, i in (("median", order[len(order) // 2]), ("worst", order[-1])):
        key = best.errors.keys[i]
        reference = stored_density(store, key)
        if reference.native_points is not None:
            continue
        title = f"{key}, the {what} structure of {best.model.name}: NMAE {best.errors.nmae[i]:.3g} %"
        page = view(network.predict(reference.structure), "difference", title, reference).html()
        size += len(page)
        if size <= MOST_SHOWN:
            frames.append(
                f'<figure><iframe title="{escape(title)}" srcdoc="{escape(page, quote=True)}"></iframe>'
                f"<figcaption>{escape(title)}; what the prediction has more and less than the reference.</figcaption>"
                "</figure>"
            )
    return frames


def _write_json(path: Path, results: Results, plan: Plan, table: Table, seeds: Mapping[str, int]) -> None:
    tree: dict[str, Any] = {
        "format": "orbdens comparison",
        "terms": terms(plan),
        "columns": table.columns,
        "rows": table.rows,
        "seeds": seeds,
        "failed": dict(results.failed),
        "curves": {name: {"minutes": c.minutes, "nmae": c.errors} for name, c in results.curves.items()},
        "sizes": {name: {str(n): error for n, error in found.items()} for name, found in results.sizes.items()},
        "evaluations": [evaluation.model_dump(exclude={"slice"}) for evaluation in results.evaluations],
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(tree) + "\n", encoding="utf-8")
