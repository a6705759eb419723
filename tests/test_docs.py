"""What is written for people is complete."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from pacsnode.cli import COMMANDS, commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_in_the_readme_and_has_help(name: str) -> None:
    assert f"| `pacsnode {name}" in README
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_readme_names_no_command_that_is_not_there() -> None:
    named = set(re.findall(r"(?:^|`|/)pacsnode (?:--config \S+ )?([a-z]+)", README, re.MULTILINE))
    assert named <= set(COMMANDS)


def test_the_test_command_can_be_taken_from_the_readme() -> None:
    found = re.search(r"<!-- test-command -->\n```sh\n(.+)\n```\n", README)
    assert found is not None
    assert "pytest" in found[1]


def test_each_room_is_in_the_readme() -> None:
    rooms = [path.name for path in (ROOT / "pacsnode").iterdir() if (path / "__init__.py").exists()]
    assert rooms
    for room in rooms:
        assert re.search(rf"^  {room}/ ", README, re.MULTILINE), room


def test_the_libraries_of_the_readme_are_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]
    for library in ("click", "rich", "sdnotify", "blake3", "peewee", "pynetdicom", "pydantic"):
        assert library in names
        assert library in README


def test_the_promises_name_tests_that_exist() -> None:
    promises = README.partition("## What it promises")[2].partition("\n## ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", promises)
    assert len(named) >= 20
    for path, name in named:
        text = (ROOT / path).read_text("utf-8")
        assert f"def {name}(" in text, f"{path}::{name}"
    rows = [line for line in promises.splitlines() if line.startswith("|")]
    assert all("`tests/" in row for row in rows[2:])
