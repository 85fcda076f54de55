"""Configs: the shipped ones are valid and complete enough; mistakes are told in one sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orbdens.config import Config, find_config, load_config, parse_config
from orbdens.errors import UserError
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.registry import MODELS

SHIPPED = find_config(Path("lithium-oxide.yaml"))


@pytest.mark.parametrize("path", sorted(SHIPPED.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_a_config_survives_being_written() -> None:
    config = load_config(SHIPPED)
    again = parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))), "the test")
    assert again == config and type(again) is type(config)


def test_every_option_has_a_description() -> None:
    seen: list[type] = [registration.run_class() for registration in MODELS.values()]
    for model in seen:
        for name, field in model.model_fields.items():
            nested = getattr(field.annotation, "__args__", [field.annotation])
            seen += [t for t in nested if isinstance(t, type) and hasattr(t, "model_fields") and t not in seen]
            assert issubclass(model, Config) or field.description, f"{model.__name__}.{name}"


def test_overrides_are_yaml_values() -> None:
    config = load_config(SHIPPED, ["training.minutes=3", "model.channels=8", "data.n_train=null"])
    assert (config.training.minutes, config.data.n_train) == (3.0, None)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.learningrate=1", "unknown option 'training.learningrate'; did you mean 'training.learning_rate'?"),
        ("model.basis.bta=2", "unknown option 'model.basis.bta'; did you mean 'model.basis.beta'?"),
        ("modle.channels=8", "unknown option 'modle'; did you mean 'model'?"),
        ("model.basis.max_exponent=[9,8,7,6,5,4]", "max_exponent should hold 1 to 5 numbers"),
        ("model.basis.max_exponent=[9,-1]", "option 'model.basis.max_exponent"),
        ("objective.metric=l2", "option 'objective.metric': .*'overlap' or 'coulomb'.*got 'l2'"),
        ("model.channels=many", "option 'model.channels': .*integer.*got 'many'"),
        ("model.channels=1", "option 'model.channels': .*greater than or equal to 4.*got 1"),
        ("model.kind=unet", "option 'model.*unet"),
        ("model.kind=unet", "there is no model 'unet'; did you mean 'unet3d'"),
        ("training.minutes=null", "a run needs an end"),
        ("data=5", "option 'data'"),
        ("training.minutes", "expected key=value"),
        ("training.minutes.x=1", "'minutes' is a value, not a section"),
        ("training.minutes=[1", "no YAML value"),
    ],
)
def test_mistakes_in_overrides_are_told(override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        load_config(SHIPPED, [override])
    assert "\n" not in str(caught.value)


def test_mistakes_in_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    for text, sentence in (
        ("data: [", "not a YAML file"),
        ("- 1", "sections"),
        ("", "sections"),
        ("data: {}", "missing"),
        ("model:", "option 'model.kind' is missing"),
        (
            "data: {store: a}\nmodel: {kind: orbital, points_stage: 1}\nobjective: 3\ntraining: {steps: 1}",
            "objective.*got 3",
        ),
    ):
        broken.write_text(text)
        with pytest.raises(UserError, match=sentence):
            load_config(broken)


def test_a_config_that_ships_is_found_by_name(tmp_path: Path) -> None:
    assert find_config(Path("lithium-oxide.yaml")) == SHIPPED
    assert find_config(tmp_path / "none.yaml") == tmp_path / "none.yaml"


def test_a_config_in_another_folder_is_not_the_one_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(Path("configs/lithium-oxide.yaml")) == SHIPPED  # as in a checkout
    assert find_config(Path("typo/lithium-oxide.yaml")) == Path("typo/lithium-oxide.yaml")
    mine = tmp_path / "lithium-oxide.yaml"
    mine.write_text(SHIPPED.read_text())
    assert find_config(Path("lithium-oxide.yaml")) == Path("lithium-oxide.yaml")


def test_options_stand_where_old_configs_have_them() -> None:
    old = {
        "data": {"store": "any"},
        "model": {"kind": "orbital", "points_stage": 0.25, "dipole_weight": 0.1},
        "training": {"steps": 1},
    }
    config = parse_config(old, "the test")
    assert isinstance(config, OrbitalRun)
    assert (config.objective.points_stage, config.objective.dipole_weight) == (0.25, 0.1)
    assert (config.model.electrons, config.model.orbital_cutoff) == ("global", 7.0), "what it did not say had defaults"
    assert parse_config({**old, "objective": None}, "the test") == config, "a section whose lines are all comments"
    config = load_config(SHIPPED, ["model.points_stage=0.5"])
    assert isinstance(config, OrbitalRun) and config.objective.points_stage == 0.5
    with pytest.raises(UserError, match=r"model.points_stage is called objective.points_stage now"):
        parse_config({**old, "objective": {"points_stage": 0.5}}, "the test")
    config = parse_config({**old, "objective": None}, "the test")  # a section without entries in YAML
    assert isinstance(config, OrbitalRun) and config.objective.points_stage == 0.25
    with pytest.raises(UserError, match=r"option 'objective': .*got 5"):
        parse_config({**old, "objective": 5}, "the test")
