"""What the texts name exists: commands and their options, options of configs, files; and the README is short."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import places
import pytest
import typer
import yaml
from pydantic import BaseModel
from test_imports import LEVELS

from orbdens.cli.main import app
from orbdens.config import load_config

HISTORY = "CHANGELOG.md"
"""It tells of what was."""
ROOMS = [places.ROOT / name for name in ("orbdens", "configs", "data_tools", "tests", "benchmarks")]
TEXTS = [
    *(places.ROOT / name for name in ("README.md", "CONTRIBUTING.md", HISTORY)),
    *(text for room in ROOMS for text in sorted(room.rglob("*.md"))),
]
PRESENT = [text for text in TEXTS if text.name != HISTORY]
CONFIGS = sorted((places.ROOT / "configs").glob("*.yaml"))
LONGEST_README = 110

every_text = pytest.mark.parametrize("text", PRESENT, ids=lambda text: str(text.relative_to(places.ROOT)))


def code(text: Path) -> list[str]:
    """The lines of fenced blocks, and everything in backticks."""
    whole = text.read_text(encoding="utf-8").replace("\\|", "|")
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", whole, re.M | re.S)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", whole, flags=re.M | re.S))
    return [line for block in [*fenced, *inline] for line in block.splitlines()]


def commands(text: Path) -> list[list[str]]:
    """The words of every `orbdens ...` behind the first."""
    found = [re.search(r"(?:^|&& )orbdens ([^#&]+)", line) for line in code(text)]
    return [shlex.split(match[1].replace("[", " ").replace("]", " ")) for match in found if match]


@every_text
def test_commands_and_their_options_exist(text: Path) -> None:
    for words in commands(text):
        command, rest = typer.main.get_command(app), list(words)
        while rest and hasattr(command, "commands"):
            name = rest.pop(0)
            if not name.startswith(("-", ".")):
                assert name in command.commands, f"there is no orbdens {' '.join(words)}"
                command = command.commands[name]
        known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        for word in rest:
            if re.match(r"-+[a-z]", word):
                assert word in known | {"--help", "--debug"}, f"orbdens {' '.join(words)}: there is no {word}"


def options(section: BaseModel) -> set[str]:
    """Dotted names of all options of a config or a section."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    deeper = {name: options(value) for name, value in values.items() if isinstance(value, BaseModel)}
    return {*values, *(f"{name}.{option}" for name, below in deeper.items() for option in below)}


@every_text
def test_options_of_configs_exist(text: Path) -> None:
    known = set[str]().union(*(options(load_config(config)) for config in CONFIGS))
    for line in code(text):
        for name in re.findall(r"(?<![\w./])(?:data|model|objective|training)\.[a-z_.]*[a-z_](?![\w.(/])", line):
            assert name in known or name.rsplit(".")[-1] in ("safetensors", "py", "mdb"), f"there is no option {name}"


@every_text
def test_files_that_are_named_exist(text: Path) -> None:
    whole = text.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", whole):
        assert "://" in link or (text.parent / link).exists(), f"{link} is not there"
    files = [f"/{path.relative_to(places.ROOT)}" for room in ROOMS for path in [room, *room.rglob("*")]]
    for name in re.findall(r"`((?:[a-z_0-9]+/)+|(?:[a-z_0-9]+/)*[a-z_0-9]+\.py)`", whole):
        assert any(file.endswith(f"/{name.rstrip('/')}") for file in files), f"{name} is not there"


def test_the_readme_is_short_and_names_all_texts() -> None:
    readme = places.ROOT / "README.md"
    whole = readme.read_text(encoding="utf-8")
    assert len(whole.splitlines()) <= LONGEST_README
    for text in TEXTS:
        assert text == readme or f"`{text.relative_to(places.ROOT)}`" in whole, f"README.md does not name {text}"


def test_every_config_has_its_line_with_its_minutes() -> None:
    table = (places.ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    for config in CONFIGS:
        row = re.search(rf"^\| `{config.name}` \|.*\| ([\d.]+|none) \| [^|]*\|$", table, re.M)
        assert row, f"{config.name} has no line"
        minutes = yaml.safe_load(config.read_text()).get("training", {}).get("minutes")
        assert (row[1] == "none") if minutes is None else (float(row[1]) == minutes), config.name


def test_the_plan_is_the_one_that_imports_follow() -> None:
    plan = (places.ROOT / "orbdens" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"│ ([a-z_/ ]+?) *│ [^│]+│$", plan, re.M)
    floors = [{name.rstrip("/").replace("/", ".") for name in row.split()} for row in rows]
    assert floors == [set(level) for level in reversed(LEVELS)]
