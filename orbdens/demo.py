"""``orbdens demo``: the whole way from a store to a report, on data that ships with the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orbdens import shipped
from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.evaluation.compare import write_report
from orbdens.evaluation.measure import evaluate
from orbdens.evaluation.pictures import draw, write_pictures
from orbdens.evaluation.tables import Table, comparison_table
from orbdens.files import check_output
from orbdens.training.run import train

MODELS = {"orbital model": "lithium-oxide", "3D U-Net": "lithium-oxide-unet"}
"""Models by the names that tables give them, and the configs that ship of them."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves behind: the comparison, the page, and the run folder of the first model."""

    table: Table
    report: Path
    model: Path


def demo(out: Path, minutes: float, force: bool, log: Callable[[str], None]) -> DemoResult:
    """Train both models for equal time, evaluate them on the test split, and write the report.

    Args:
        out: folder for everything.
        minutes: training time of each model.
        force: replace a folder that exists.
        log: called with a line of text before each step.

    Raises:
        UserError: ``out`` exists and ``force`` is off, or it cannot be written.
    """
    if out.exists() and not force:
        raise UserError(f"{out} exists; --force replaces it, --out names another folder")
    report = out / "report.html"
    check_output(report, force)
    evaluations = []
    for name, config_name in MODELS.items():
        config = load_config(
            shipped.config_path(f"{config_name}.yaml"), [f"training.minutes={minutes}", "training.steps=null"]
        )
        log(f"training the {name} on {shipped.STORE} for {minutes:g} minutes")
        run = train(config, out / config_name, resume=False, force=force)
        log(f"evaluating the {name} on unseen geometries")
        evaluation = evaluate(run, shipped.STORE, name=name)
        evaluation.write(out / f"{config_name}.json")
        evaluations.append(evaluation)
    pictures = draw(evaluations)
    write_pictures(out, pictures)
    write_report(report, evaluations, pictures)
    return DemoResult(comparison_table(evaluations), report, out / MODELS["orbital model"])
