"""Files of ranges: what they may say, and every mistake in one sentence before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbdens.config import check_option, find_config, load_config, option_names, takes_fractions
from orbdens.errors import UserError
from orbdens.tuning.plan import Terms, plan_search
from orbdens.tuning.space import Space, read_space

UNET = load_config(find_config(Path("lithium-oxide-unet.yaml")))


def space_of(folder: Path, text: str) -> Space:
    path = folder / "space.yaml"
    path.write_text(text)
    return read_space(path, UNET, {"training.steps": "--steps sets when a trial ends"})


def test_lists_and_ranges(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        """
        model.dropout: [0, 1e-1, 0.2]
        training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
        model.features: {low: 8, high: 32, step: 8}
        training.ema_decay: {low: 0.9, high: 0.99, number: 4}
        training.gradient_clip: {low: 1, high: 100, log: true, number: 3}
        model.depth: {low: 1, high: 3}
        training.batch_size: {low: 1, high: 64, log: true}
        model.exact_electrons: [true, false]
        """,
    )
    axes = {axis.name: axis for axis in space.axes}
    assert axes["objective.dropout"].values == (0, 0.1, 0.2)  # its name of today, and a number for YAML's text
    rate = axes["training.learning_rate"]
    assert (rate.values, rate.low, rate.high, rate.log, rate.whole) == (None, 1e-4, 1e-2, True, False)
    assert axes["model.features"].values == (8, 16, 24, 32)
    assert all(isinstance(value, int) for value in axes["model.features"].values or ())
    assert axes["training.ema_decay"].values == (0.9, 0.93, 0.96, 0.99)
    assert axes["training.gradient_clip"].values == (1, 10, 100)  # between whole ends, but not whole itself
    assert axes["model.depth"].values == (1, 2, 3)
    assert axes["training.batch_size"].whole and axes["training.batch_size"].values is None
    assert axes["model.exact_electrons"].values == (True, False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "should hold lines such as"),
        ("- 1", "should hold lines such as"),
        ("a: [", "is not a YAML file"),
        ("objective.droput: [0]", "unknown option 'objective.droput'; did you mean 'objective.dropout'"),
        ("dropout: [0]", "unknown option 'dropout'; did you mean 'objective.dropout'"),
        ("nothing.like.it: [0]", "unknown option 'nothing.like.it'$"),
        (
            "objective: {dropout: [0, 0.1]}",
            "objective is a section: write names of its options, such as objective.loss",
        ),
        ("model.depth: {lo: 1, hi: 2}", "expected a list of values or a range {low: ..., high: ...}, but"),
        ("model.norm: [batch, bach]", "'model.norm': input should be 'batch' or 'instance', but got 'bach'"),
        ("model.dropout: [0, 1]", "'objective.dropout': input should be less than 1, but got 1"),
        ("model.depth: {low: 1, high: 7}", "'model.depth': input should be less than or equal to 6, but got 7"),
        ("model.depth: {low: 1, high: 2.5}", "valid integer, got a number with a fractional part"),
        ("model.depth: {low: 1, high: 5, step: 1.5}", "valid integer, got a number with a fractional part"),
        ("model.norm: {low: 1, high: 2}", "input should be 'batch' or 'instance', but got 1"),
        ("model.depth: {low: 3, high: 1}", "model.depth: low should be below high, but they are 3 and 1"),
        ("model.depth: {low: 3}", "model.depth: high: field required"),
        ("model.depth: {low: 1, high: 3, stepp: 2}", "model.depth: stepp: extra"),
        ("objective.dropout: {low: 0, high: 0.5, log: true}", "a logarithmic range begins above 0, but low is 0"),
        ("objective.dropout: {low: 0, high: .inf}", "ranges have finite ends"),
        ("training.learning_rate: {low: 1e-4, high: 1e-2, log: true, step: 0.1}", "goes neither with `log` nor with"),
        ("training.learning_rate: {low: 1e-4, high: 1e-2, step: 1}", "the step 1 is longer than the range"),
        ("training.learning_rate: {low: 1e-4, high: 1e-2, step: 1e-9}", "makes 9900001 values"),
        ("model.depth: []", "the list of its values is empty"),
        ("model.depth: [1, 2, 1]", "the value 1 is in its list twice"),
        ("model.depth: 3", "expected a list of values or a range"),
        ("model.dropout: [0]\nobjective.dropout: [0.1]", "set the same option"),
        ("data.store: [a, b]", "data.store cannot be varied: .*--store"),
        ("data.n_train: [10, 20]", "cannot be varied: it decides what all trials are measured on"),
        ("training.threads: [1, 2]", "training.threads cannot be varied: .*--processes"),
        ("training.validation_spacing: [0.2, 0.3]", "cannot be varied"),
        ("model.kind: [unet3d, orbital]", "orbdens compare"),
        ("training: [{steps: 1}]", "training is a section"),
        ("training.steps: [1, 2]", "--steps sets when a trial ends"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as told:
        space_of(tmp_path, text)
    assert len(str(told.value).splitlines()) == 1 and "space.yaml" in str(told.value)


def test_a_grid_has_every_point_once(tmp_path: Path) -> None:
    space = space_of(tmp_path, "model.norm: [batch, instance]\nobjective.dropout: {low: 0, high: 0.3, step: 0.1}")
    points = list(space.grid())
    assert len(points) == 8 == len({tuple(point.values()) for point in points})
    assert points[1] == {"model.norm": "batch", "objective.dropout": 0.1}
    with pytest.raises(UserError, match=r"needs `step` or `number` for training.learning_rate"):
        list(space_of(tmp_path, "training.learning_rate: {low: 1e-4, high: 1e-2}").grid())
    with pytest.raises(UserError, match="has 1000000 points"):
        list(
            space_of(
                tmp_path,
                "training.learning_rate: {low: 1e-4, high: 1, number: 1000}\n"
                "training.ema_decay: {low: 0.1, high: 0.9, number: 1000}",
            ).grid()
        )


def test_terms_that_do_not_go_with_the_model(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("training.seed: [0, 1]")
    promolecule = Path("promolecule.yaml")
    for terms, option in (
        (Terms(minutes=1), "--minutes"),
        (Terms(steps=1), "--steps"),
        (Terms(prune="median"), "--prune"),
    ):
        with pytest.raises(UserError, match=f"{option} is for models that learn by steps"):
            plan_search(promolecule, space, None, [], terms)
    for split in ("train_split", "validation_split"):
        with pytest.raises(UserError, match="must not see the split 'test'"):
            plan_search(promolecule, space, None, [f"data.{split}=test"], Terms())
    assert plan_search(promolecule, space, None, [], Terms(sampler="grid")).n_trials == 2
    assert plan_search(promolecule, space, None, [], Terms()).n_trials == 20
    plan = plan_search(Path("lithium-oxide-unet.yaml"), space, "my.store", ["model.depth=2"], Terms(steps=1234567))
    training = plan.config.training.model_dump()
    assert (training["steps"], training["minutes"]) == (1234567, None)
    assert str(plan.config.data.store) == "my.store"
    with pytest.raises(UserError, match="cannot read the ranges"):
        plan_search(promolecule, tmp_path / "none.yaml", None, [], Terms())


def test_options_are_checked_one_by_one() -> None:
    assert {"model", "model.norm", "objective.dropout", "training.steps"} <= set(option_names(UNET))
    check_option(UNET, "model.norm", "instance")
    with pytest.raises(UserError, match=r"option 'model.norm': input should be"):
        check_option(UNET, "model.norm", 3)
    assert takes_fractions(UNET, "objective.dropout", 0.1) and not takes_fractions(UNET, "model.depth", 1)
