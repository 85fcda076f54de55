"""Routes from a structure to a density side by side: trained on the same data, measured on the same structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from orbdens.errors import UserError
from orbdens.evaluation.tables import Table
from orbdens.routes.plan import Plan, Route, keep_settings, routes_of
from orbdens.store import Store, open_store


def compare_routes(items: Sequence[Path], out: Path, plan: Plan, log: Callable[[str], None], force: bool) -> Table:
    """Train the configs among ``items`` on one store, measure them and the trained models on it, and write the report.

    What an earlier call with the same terms finished is not done again. A route that fails leaves the others alone.

    Args:
        items: configs, run folders, model files.
        out: folder for runs, figures and ``report.html``.
        plan: the terms.
        log: told what is being done, a line at a time.
        force: begin anew.

    Raises:
        UserError: as ``routes_of``, ``keep_settings`` and ``find_device``; the split is missing; or routes failed,
            after the report of the others is written.
    """
    from orbdens.devices import find_device
    from orbdens.evaluation.compare import read_evaluations
    from orbdens.routes.curves import Curve
    from orbdens.routes.report import Results, write
    from orbdens.routes.work import Place, begin_anew, work

    find_device(plan.device)
    store, routes = routes_of(items, plan)
    records = open_store(store)
    if not records.keys(plan.split):
        raise UserError(f"split '{plan.split}' of {store} is empty")
    keep_settings(out, store, plan, force)
    place = Place(out)
    if force:
        begin_anew(place)
    failed = work(routes, store, plan, place, log)
    measured = [route for route in routes if place.evaluation(route).is_file() and route.name not in failed]
    whole = [route for route in measured if route.n_train is None]
    if not whole:
        raise UserError("; ".join(f"{name} failed: {reason}" for name, reason in failed.items()))
    evaluations = read_evaluations([place.evaluation(route) for route in measured])
    by_route = dict(zip(measured, evaluations, strict=True))
    sizes: dict[str, dict[int, float]] = {}
    for route in measured:
        if route.config is not None and plan.sizes:
            sizes.setdefault(route.base, {})[_training_size(route, records)] = by_route[route].summary()["nmae"].mean
    folders = {route.name: route.model or place.run(route) for route in whole}
    results = Results(
        evaluations=sorted((by_route[route] for route in whole), key=lambda e: e.summary()["nmae"].mean),
        models=folders,
        curves={name: Curve.of(folder) for name, folder in folders.items()},
        sizes=sizes,
        failed=failed,
    )
    table = write(out, results, store, plan, whole)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"{len(failed)} of {len(routes)} routes failed ({reasons}); the others stand in {out}/report.html"
        )
    return table


def _training_size(route: Route, store: Store) -> int:
    """Structures that a route learned from."""
    from orbdens.training.batches import splits_of

    return len(splits_of(store, route.load().data)[0])
