"""One log record is one line, and text from outside forges no other one, whichever formatter writes it."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, strategies
from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters, log

from snapmanage.cmd.wiring.logs import PrintableRecord

HOSTILE = "a\n2026-01-01 00:00:00.000 1 INFO snapmanage [-] forged\r\x1b[2J\x1b]0;title\a\x9b\u202e\u2028\ud83d\\n"
ESCAPED = r"a\n2026-01-01 00:00:00.000 1 INFO snapmanage [-] forged\r\x1b[2J\x1b]0;title\x07\x9b\u202e\u2028\ud83d\n"
# Every character of Unicode, lone surrogates and unassigned ones included.
ANY_TEXT = strategies.text(strategies.characters(exclude_categories=()))


def context_formatter() -> logging.Formatter:
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    conf([], default_config_files=[])
    return formatters.ContextFormatter(config=conf)


class OneLine(logging.Formatter):
    """A formatter of an operator's own, which writes a traceback in another form."""

    def formatException(self, ei: Any) -> str:
        return repr(super().formatException(ei)) + HOSTILE


# Formatters of oslo.log, and formatters that a file of `log_config_append` may name.
FORMATTERS: dict[str, logging.Formatter] = {
    "oslo": context_formatter(),
    "json": formatters.JSONFormatter(),
    "plain": logging.Formatter("%(levelname)s\t%(name)s %(message)s"),
    "own": OneLine(),
}
every_formatter = pytest.mark.parametrize("formatter", FORMATTERS.values(), ids=FORMATTERS)


def record(message: str, *arguments: object, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    """Return a record of a logger; an error has a traceback."""
    exc_info = traceback_of(error) if error else None
    made = PrintableRecord("lib", logging.ERROR, "lib.py", 1, message, arguments, exc_info)
    vars(made).update(extra)
    return made


def traceback_of(error: Exception) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


def chained(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error


@every_formatter
@given(ANY_TEXT)
@example(HOSTILE)
def test_record_is_one_printable_line(formatter: logging.Formatter, original: str) -> None:
    line = formatter.format(record("%s failed", original)).replace("\t", "")

    assert line.isprintable()


@every_formatter
@given(ANY_TEXT)
@example(HOSTILE)
def test_every_line_of_a_traceback_is_printable(formatter: logging.Formatter, original: str) -> None:
    text = formatter.format(record("failed", error=chained(KeyError(original), ValueError(original))))

    assert all(line.isprintable() for line in text.replace("\t", "").split("\n"))


@pytest.mark.parametrize("formatter", [FORMATTERS["oslo"], FORMATTERS["plain"]], ids=["oslo", "plain"])
@pytest.mark.parametrize(
    "make",
    [
        ValueError,
        lambda text: chained(ValueError(text), OSError("outer")),
        lambda text: ExceptionGroup("several", [ValueError(text), ExceptionGroup(text, [OSError(text)])]),
    ],
    ids=["one", "chain", "group"],
)
def test_line_break_within_the_text_of_an_exception_makes_no_line(
    formatter: logging.Formatter, make: Callable[[str], Exception]
) -> None:
    lines = formatter.format(record("failed", error=make("harmless"))).split("\n")

    hostile = formatter.format(record("failed", error=make(f"x\nTraceback (most recent call last):\n{HOSTILE}")))

    assert len(hostile.split("\n")) == len(lines)


def test_line_of_oslo_log_has_the_escaped_text_of_the_error_and_of_the_context() -> None:
    caller = context.RequestContext(user_id=HOSTILE, overwrite=False)

    head, *_ = FORMATTERS["oslo"].format(record("failed", error=ValueError(HOSTILE), context=caller)).split("\n")

    assert head.count(ESCAPED) == 2


def test_field_that_a_library_adds_is_escaped() -> None:
    formatter = logging.Formatter("%(resource)s %(message)s")

    assert formatter.format(record("done", resource=HOSTILE)) == f"{ESCAPED} done"


def test_traceback_without_its_exception_is_escaped_line_by_line() -> None:
    received = record("failed")

    received.exc_text = "one \x1b\ntwo"

    assert logging.Formatter().format(received) == "failed\none \\x1b\ntwo"


def test_json_has_the_escaped_message_and_the_whole_traceback() -> None:
    written = json.loads(FORMATTERS["json"].format(record("%s", HOSTILE, error=ValueError("why"))))

    assert written["message"] == ESCAPED
    assert "".join(written["traceback"]).endswith("ValueError: why")  # oslo.log 5.5 writes a list of lines


def test_operators_format_keeps_its_own_control_characters() -> None:
    assert FORMATTERS["plain"].format(record("done")) == "ERROR\tlib done"


def test_colors_of_oslo_log_are_kept() -> None:
    formatter = logging.Formatter("%(color)s%(message)s")

    assert formatter.format(record("done", color="\x1b[01;31m")) == "\x1b[01;31mdone"
