"""The help texts of the client commands, and their exit codes for wrong options."""

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from snapmanage.client.app import COMMANDS


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, which `snapmanage` and `openstack` use alike."""
    app: Any = SimpleNamespace()
    return COMMANDS[name](app, None).get_parser(f"snapmanage {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_paragraph_of_a_help_text_ends_with_a_full_stop(name: str) -> None:
    description = parser(name).description or ""

    paragraphs = [" ".join(each.split()) for each in description.strip().split("\n\n")]
    assert len(paragraphs) == 1 or all(each.endswith(".") for each in paragraphs)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_option_has_the_exit_code_of_an_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser(name).parse_args(["--nonsense"])

    assert ended.value.code == (2 if name == "diff" else 1)
    assert f"snapmanage {name}: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["apply", "p", "--parallel", "x"], ["plan", "--detailed-exitcode", "--latest", "x"], ["undo", "p", "--only", "x"]],
    ids=lambda arguments: arguments[0],
)
def test_wrong_value_of_an_option_is_no_outcome(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser(arguments[0]).parse_args(arguments[1:])

    assert ended.value.code == 1
