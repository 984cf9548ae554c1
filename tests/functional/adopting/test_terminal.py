"""A person at a terminal is asked, may interrupt the question, and learns the next command."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.functional.adopting.plans import make_plan, names, refused_names, snapshots
from tests.functional.adopting.shell import Shell
from tests.functional.cmd.programs import FOLDER
from tests.functional.world import World
from tests.terminal import CTRL_C, Terminal

QUESTION = "Type yes to start:"


@pytest.fixture
def terminal(shell: Shell) -> Iterator[Terminal]:
    with closing(Terminal(shell.folder, shell.environment | {"PATH": f"{FOLDER}:/usr/bin:/bin"})) as opened:
        yield opened


def test_interrupted_question_starts_nothing(terminal: Terminal, shell: Shell, world: World) -> None:
    make_plan(shell)
    before = names(world)

    ended = terminal.run("snapmanage apply plan.jsonl", {QUESTION: CTRL_C})

    assert ended.code == 130
    assert ended.text.endswith("interrupted; nothing was started; continue with: snapmanage apply plan.jsonl\n")
    assert (snapshots(world), names(world)) == ([], before)


def test_failures_are_followed_by_the_command_that_shows_the_reasons(terminal: Terminal, shell: Shell) -> None:
    refused_names(make_plan(shell), 2, 3)

    ended = terminal.run("snapmanage apply plan.jsonl", {QUESTION: "yes\n"})

    assert ended.code == 2
    assert ended.text.endswith("see the reasons with: snapmanage report plan.jsonl --failed\n")
    assert "0/" not in ended.text  # each bar has its last state
