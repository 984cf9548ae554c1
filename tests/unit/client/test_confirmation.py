"""`apply` and `undo` start after `--yes`, or after a line with yes, typed or piped; a signal ends the question."""

import io
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
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
    """A screen at which a signal arrives with each text."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        signal.raise_signal(self._number)
        return super().write(text)


@pytest.fixture
def silent() -> Iterator[TextIO]:
    """An open input without a line; it ends after some seconds, so that a test fails if a signal is lost."""
    reading, writing = os.pipe()
    end = threading.Timer(PATIENCE_SECONDS, os.close, [writing])
    end.start()
    with open(reading) as stream:
        yield stream
    end.cancel()
    end.join()
    with suppress(OSError):  # the timer may have closed it
        os.close(writing)


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_after_the_answer_ends_the_command_between_two_requests(number: signal.Signals) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"yes\n")
    os.close(writing)
    stop = threading.Event()
    with open(reading) as stdin, stopping(stop):
        require_yes(False, Reporter(io.StringIO()), stdin)
        signal.raise_signal(number)

        assert stop.wait(PATIENCE_SECONDS)
    assert signal.set_wakeup_fd(-1) == -1


def signalled_first(wait: Callable[..., Any]) -> Callable[..., Any]:
    """Return `wait` with a signal right before its system call, for which Python runs the handler after the call."""

    def signal_and_wait(*streams: Any) -> Any:
        caught: list[BaseException] = []
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            caught.append(error)
        ready = wait(*streams)
        assert streams[0][0] not in ready[0], "only the end of the input ended the wait"
        if caught:
            raise caught[0]
        return ready

    return signal_and_wait
