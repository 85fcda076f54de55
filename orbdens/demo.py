"""``orbdens demo``: the whole way from a store to a report, on data that ships with the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orbdens.config import find_config, load_config
from orbdens.errors import UserError
from orbdens.evaluation.measure import evaluate
from orbdens.evaluation.page import draw, write_pictures, write_report
from orbdens.evaluation.tables import Table, comparison_table
from orbdens.files import check_output
from orbdens.training.run import train

STORE = "lithium-oxide"
MODELS = (("orbital model", "lithium-oxide"), ("3D U-Net", "lithium-oxide-unet"))


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves behind: the comparison, the page, and the run folder of the first model."""

    table: Table
    report: Path
    model: Path


def demo(out: Path, minutes: float, force: bool, say: Callable[[str], None]) -> DemoResult:
    """Train both models for equal time, evaluate them on the test split, and write the report.

    Args:
        out: folder for everything.
        minutes: training time of each model.
        force: replace a folder that exists.
        say: called with a line of text before each step.

    Raises:
        UserError: ``out`` exists and ``force`` is off, or it cannot be written.
    """
    if out.exists() and not force:
        raise UserError(f"{out} exists; --force replaces it, --out names another folder")
    report = out / "report.html"
    check_output(report, force)
    evaluations = []
    for name, config_name in MODELS:
        config = load_config(
            find_config(Path(f"{config_name}.yaml")), [f"training.minutes={minutes}", "training.steps=null"]
        )
        say(f"training the {name} on {STORE} for {minutes:g} minutes")
        run = train(config, out / config_name, resume=False, force=force)
        say(f"evaluating the {name} on unseen geometries")
        evaluation = evaluate(run, STORE, "test", name=name)
        evaluation.write(out / f"{config_name}.json")
        evaluations.append(evaluation)
    pictures = draw(evaluations)
    write_pictures(out, pictures)
    write_report(report, evaluations, pictures)
    return DemoResult(comparison_table(evaluations), report, out / MODELS[0][1])
