"""Every command refuses odd arguments in printable lines, without a traceback and before the database sees them."""

import argparse
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from snapmanage.cmd.manage.main import MODULES
from tests.functional.cmd.programs import configuration, refusal, run

PROGRAMS = sorted(each.name for each in entry_points(group="console_scripts") if each.name.startswith("snapmanage"))
INVISIBLE = ("a\x1b[2J", "a\nb", "a\u202eb", b"a\xff", b"\xed\xa0\x80")
# A number that no database has a column for, one below each limit, and a name that is too long for a file.
ODD = {"huge": "9" * 30, "negative": "-5", "long": "x" * 300}


class RecordingParser(argparse.ArgumentParser):
    """A parser that keeps the arguments with a value of itself and of its subcommands, by the words of the command."""

    recorded: dict[str, list[dict[str, Any]]]

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        if settings.get("action") in (None, "append"):
            self.recorded.setdefault(self.prog, []).append({"name": names[0], **settings})
        return super().add_argument(*names, **settings)


def all_arguments() -> Iterator[tuple[list[str], list[str]]]:
    """Yield each argument of `snapmanage-manage` that has a value, after the words of its command and its needs."""
    RecordingParser.recorded = {}
    commands = RecordingParser(prog="").add_subparsers()
    for module in MODULES:
        module.add_commands(commands)
    for words, found in RecordingParser.recorded.items():
        required = {each["name"]: given(each) for each in found if each.get("required") or each["name"][0] != "-"}
        for each in found:
            others = [word for name, pair in required.items() if name != each["name"] for word in pair]
            yield [*words.split(), *others], given(each)[:-1]


def assert_refused_in_a_sentence(ended: "subprocess.CompletedProcess[str]") -> None:
    *_, last = ended.stderr.splitlines()
    assert ended.returncode in (1, 2)
    assert re.search(r"error: .*\w", last)
    assert "the database failed" not in last
    assert "Traceback" not in ended.stderr


def given(argument: dict[str, Any]) -> list[str]:
    return [argument["name"], "x"] if argument["name"].startswith("-") else ["x"]


ARGUMENTS = list(all_arguments())


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands write the files that an odd name means into a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def synchronized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration file of an empty database."""
    folder = tmp_path_factory.mktemp("arguments")
    file = configuration(folder, f"sqlite:///{folder}/snapmanage.db")
    assert run("snapmanage-manage", "--config-file", file, "db", "sync").returncode == 0
    return file


@pytest.mark.parametrize("argument", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("program", PROGRAMS)
def test_argument_with_invisible_characters_is_refused_by_every_program(program: str, argument: str | bytes) -> None:
    line = refusal(run(program, "--config-file", argument))

    assert line.startswith("error: argument 2, ")
    assert "must be printable text" in line
    assert line.isprintable()


@pytest.mark.parametrize("program", PROGRAMS)
def test_endless_argument_is_refused_by_every_program(program: str) -> None:
    line = refusal(run(program, "--config-file", "9" * 5000))

    assert line == "error: argument 2 has 5000 characters: it must have at most 4096"


def test_every_command_with_a_number_is_tested() -> None:
    tested = {option[0] for _, option in ARGUMENTS if option}

    assert {"--limit", "--older-than", "--in-flight-seconds", "--until", "--since", "--gigabytes"} <= tested


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize(("words", "option"), ARGUMENTS, ids=[" ".join(words + option) for words, option in ARGUMENTS])
def test_odd_value_of_an_argument_is_refused_in_a_sentence(
    synchronized: Path, words: list[str], option: list[str], value: str
) -> None:
    ended = run("snapmanage-manage", "--config-file", synchronized, *words, *option, value)

    if ended.returncode != 0:  # a name may be a number, and a number may be negative
        assert_refused_in_a_sentence(ended)


@pytest.mark.parametrize(
    "options",
    [
        ["--log-file=/absent/file"],
        ["--log-file=" + "x" * 300],
        ["--log-dir=/absent"],
        ["--log-config-append=absent"],
        ["--config-dir=absent"],
        ["--use-syslog", "--syslog-log-facility=absent"],
    ],
    ids=" ".join,
)
def test_odd_option_of_every_program_is_refused_in_one_line(synchronized: Path, options: list[str]) -> None:
    refusal(run("snapmanage-manage", "--config-file", synchronized, *options, "quota", "list"))


@pytest.mark.parametrize("option", [*(f"--listen={value}" for value in ODD.values()), f"--data-dir={'x' * 300}"])
def test_odd_value_of_standalone_is_refused_in_a_sentence(tmp_path: Path, option: str) -> None:
    folder = tmp_path / "absent"
    ended = run("snapmanage", "standalone", "--data-dir", folder, option)

    assert_refused_in_a_sentence(ended)
    assert not folder.exists()
