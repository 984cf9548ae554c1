"""`apply` and `undo` start after `--yes`, or after a line with yes, typed or piped."""

import io
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import pytest

from snapmanage import errors
from snapmanage.client.api.http import Interrupted
from snapmanage.client.commands.running import require_yes
from snapmanage.client.events import Reporter
from snapmanage.client.work.interruption import stopping

PATIENCE_SECONDS = 10


def confirm(stdin: io.TextIOBase | None, is_confirmed: bool = False) -> str:
    """Return the lines that a person sees."""
    shown = io.StringIO()
    require_yes(is_confirmed, Reporter(shown), stdin)  # type: ignore[arg-type]
    return shown.getvalue()


@pytest.mark.parametrize("answer", ["yes\n", "yes", " yes \r\n", "yes\nyes\n"])
def test_yes_starts_the_command(answer: str) -> None:
    assert confirm(io.StringIO(answer)) == "Type yes to start:\n"


@pytest.mark.parametrize("answer", ["", "\n", "no\n", "y\n", "YES\n", "\nyes\n", "yes please\n", " " * 100 + "yes\n"])
def test_anything_else_starts_nothing(answer: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="nothing was started; type yes, pipe it"):
        confirm(io.StringIO(answer))


@pytest.mark.parametrize(
    "stdin", [None, io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8")], ids=["closed", "no text"]
)
def test_input_that_cannot_be_read_starts_nothing(stdin: io.TextIOBase | None) -> None:
    with pytest.raises(errors.InvalidRequest, match="nothing was started"):
        confirm(stdin)


def test_option_replaces_the_line() -> None:
    assert confirm(None, is_confirmed=True) == ""


class SignalWhenShown(io.StringIO):
    """A screen whose reader sends a signal as soon as text appears."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        signal.raise_signal(self._number)
        return super().write(text)


@pytest.fixture
def silent() -> Iterator[TextIO]:
    """An input in which nobody types."""
    reading, writing = os.pipe()
    with open(reading) as stream, open(writing, "wb"):
        yield stream


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_question_is_printed_starts_nothing(number: signal.Signals, silent: TextIO) -> None:
    with stopping(threading.Event()), pytest.raises(Interrupted, match="nothing was started"):
        require_yes(False, Reporter(SignalWhenShown(number)), silent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_question_starts_nothing(number: signal.Signals, silent: TextIO) -> None:
    shown = io.StringIO()
    with stopping(threading.Event()):
        signal.raise_signal(number)
        with pytest.raises(Interrupted, match="nothing was started"):
            require_yes(False, Reporter(shown), silent)

    assert shown.getvalue() == ""


def test_signal_just_before_the_wait_for_the_answer_starts_nothing(
    silent: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "select", signalled_first(select.select))

    with stopping(threading.Event()), pytest.raises(Interrupted, match="nothing was started"):
        require_yes(False, Reporter(io.StringIO()), silent)


def signalled_first(wait: Callable[..., Any]) -> Callable[..., Any]:
    """Return `wait` with a signal before it, which Python handles after it, as where only the kernel has seen it."""

    def signal_and_wait(*streams: Any) -> Any:
        caught: list[BaseException] = []
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            caught.append(error)
        ready = wait(*streams, PATIENCE_SECONDS)
        assert any(ready), "the signal did not end the wait"
        if caught:
            raise caught[0]
        return ready

    return signal_and_wait
