"""Reports of many names: commands of bounded length, and messages that concern one name each."""

import os
from collections.abc import Mapping, Sequence

import pytest

from snapmanage import errors
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs.commands import PROPERTIES
from snapmanage.drivers.zfs.scan import Scanner
from tests.unit.drivers.zfs.test_report import reported

LIMIT_BYTES = 16 * 1024
ABSENT = "dataset does not exist"


class FakeZfs:
    """Reports every name without a message; keeps the arguments of its commands."""

    def __init__(self, messages: Mapping[str, str], exit_code: int = 1) -> None:
        self._messages = messages
        self._exit_code = exit_code
        self.commands: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], *_: object, **__: object) -> CompletedCommand:
        self.commands.append(argv)
        names = argv[argv.index(",".join(PROPERTIES)) + 1 :]
        refused = [f"cannot open '{name}': {self._messages[name]}" for name in names if name in self._messages]
        output = "".join(reported(name) for name in names if name not in self._messages)
        return CompletedCommand(self._exit_code if refused else 0, output, "\n".join(refused))


def scanned(monkeypatch: pytest.MonkeyPatch, zfs: FakeZfs) -> Scanner:
    monkeypatch.setattr(commands, "run", zfs.run)
    return Scanner("tank", delegated=True, deadline_seconds=1)


def test_names_that_are_too_long_for_one_command_are_read_with_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: LIMIT_BYTES)
    names = [f"tank/{number}@".ljust(255, "x") for number in range(200)]
    zfs = FakeZfs({names[7]: ABSENT})

    found = scanned(monkeypatch, zfs).named(*names)

    assert found.objects.keys() - {f"tank/{number}" for number in range(200)} == {"tank", *names} - {names[7]}
    assert all(sum(len(each) + 9 for each in argv) < LIMIT_BYTES for argv in zfs.commands)
    assert len(zfs.commands) < 20


def test_message_concerns_one_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = {"tank/v@gone": ABSENT, "tank/v@damaged": "I/O error", "tank/v@refused": "permission denied"}
    zfs = FakeZfs({**messages, "tank/w": "I/O error", "tank/v@suspended": "pool I/O is currently suspended"})

    found = scanned(monkeypatch, zfs).named("tank/v@daily", *messages, "tank/w@daily", "tank/v@suspended")

    assert found.get("tank/v@daily")
    assert found.get("tank/v@gone") is None
    for name, kind in (
        ("tank/v@damaged", errors.BackendError),
        ("tank/v@refused", errors.BackendPermission),
        ("tank/v@suspended", errors.BackendUnavailable),
        ("tank/w@daily", errors.BackendError),
    ):
        with pytest.raises(kind) as caught:
            found.get(name)
        assert type(caught.value) is kind


def test_absence_is_no_proof_if_a_signal_ended_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    zfs = FakeZfs({"tank/v@gone": ABSENT}, exit_code=-15)

    with pytest.raises(errors.BackendUnavailable, match="deadline"):
        scanned(monkeypatch, zfs).named("tank/v@gone")


def test_report_that_leaves_out_a_name_without_a_message_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class SilentAboutDaily(FakeZfs):
        def run(self, argv: Sequence[str], *_: object, **__: object) -> CompletedCommand:
            completed = super().run([each for each in argv if each != "tank/v@daily"])
            return completed._replace(exit_code=1)

    with pytest.raises(errors.BackendError):
        scanned(monkeypatch, SilentAboutDaily({})).named("tank/v@daily", "tank/v@weekly")
