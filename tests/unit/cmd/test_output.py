"""The output of commands has only printable characters, and no other module prints."""

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, strategies
from oslo_config import cfg
from sqlalchemy.exc import OperationalError

import snapmanage
from snapmanage import errors
from snapmanage.cmd.process import output, running

HOSTILE = "a\nb\r\x1b[2J\x1b]0;title\a\x9b\u202e\u2028\ud83d"
ESCAPED = r"a\nb\r\x1b[2J\x1b]0;title\x07\x9b\u202e\u2028\ud83d"
# Every character of Unicode, lone surrogates and unassigned ones included.
ANY_TEXT = strategies.text(strategies.characters(exclude_categories=()))
SOURCES = Path(snapmanage.__file__).parent
# `exit_now` flushes the output of a process that it ends.
MAY_USE_STREAMS = {"cmd/process/output.py", "cmd/process/running.py"}

PRINTERS: dict[str, Callable[[str], None]] = {
    "line": output.line,
    "table": lambda text: output.table([(text, 1, text)]),
    "lines": lambda text: output.lines([text]),
    "note": output.note,
    "error": output.error,
    "warning": output.warning,
}


@pytest.fixture(scope="module")
def streams() -> "Streams":
    return Streams()


class Streams:
    """Standard output and standard error, together."""

    def printed_by(self, act: Callable[[], object], encoding: str = "utf-8") -> str:
        """Return the output of one act, decoded."""
        with pytest.MonkeyPatch.context() as patch:
            raw = io.BytesIO()
            both = io.TextIOWrapper(raw, encoding, newline="\n")
            patch.setattr("sys.stdout", both)
            patch.setattr("sys.stderr", both)
            act()
            return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("print_text", PRINTERS.values(), ids=PRINTERS)
@given(original=ANY_TEXT)
@example(original=HOSTILE)
def test_every_text_is_printed_on_one_printable_line(
    streams: Streams, print_text: Callable[[str], None], original: str
) -> None:
    printed = streams.printed_by(lambda: print_text(original))

    assert printed.endswith("\n")
    assert printed.removesuffix("\n").isprintable()


@given(value=strategies.recursive(ANY_TEXT, lambda inner: strategies.dictionaries(ANY_TEXT, inner), max_leaves=5))
def test_document_has_printable_lines_and_the_exact_value(streams: Streams, value: object) -> None:
    printed = streams.printed_by(lambda: output.json_document(value))

    assert all(line.isprintable() for line in printed.split("\n"))
    assert json.loads(printed) == value


def test_columns_are_aligned_after_the_escape(streams: Streams) -> None:
    rows = [("a", 1, HOSTILE), ("a\x1bb", 22, "")]

    assert streams.printed_by(lambda: output.table(rows)).split("\n") == [
        f"a       1   {ESCAPED}",
        r"a\x1bb  22",
        "",
    ]


def test_table_without_rows_prints_nothing(streams: Streams) -> None:
    assert streams.printed_by(lambda: output.table([])) == ""


def test_character_that_the_terminal_lacks_is_escaped(streams: Streams) -> None:
    assert streams.printed_by(lambda: output.line("\N{EURO SIGN} é"), "latin-1") == "\\u20ac é\n"


@pytest.mark.parametrize("printer", ["lines(['x'] * 10**5)", "table([('x', 1)] * 10**5)"])
def test_reader_that_closes_its_pipe_ends_the_output(printer: str) -> None:
    program = f"from snapmanage.cmd.process import output; output.{printer}"

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()

    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.InvalidRequest(HOSTILE), f"error: {ESCAPED}\n"),
        (cfg.Error("\x1bfirst\nsecond"), "error: \\x1bfirst\n"),
        (
            OperationalError("SELECT secret", {}, Exception("\x1bfirst")),
            "error: the database failed: (builtins.Exception) \\x1bfirst\n",
        ),
    ],
    ids=["own", "configuration", "database"],
)
def test_error_that_ends_a_program_is_one_line(streams: Streams, error: Exception, line: str) -> None:
    def fail() -> int:
        raise error

    assert streams.printed_by(running.program(fail)) == line


def test_only_the_module_for_output_prints() -> None:
    others = {
        f"{path.relative_to(SOURCES)}:{node.lineno}"
        for path in SOURCES.rglob("*.py")
        if str(path.relative_to(SOURCES)) not in MAY_USE_STREAMS and path.parts[len(SOURCES.parts)] != "testing"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.expr) and prints(node)
    }

    assert others == set()


def prints(node: ast.expr) -> bool:
    """Return whether a node is `print`, or one of the streams that it writes to."""
    match node:
        case ast.Name(id="print" | "pprint"):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr" | "__stdout__" | "__stderr__"):
            return True
    return False


def test_line_is_written_at_once_though_the_output_is_not_buffered() -> None:
    """Several processes share a pipe, and their lines must not mix."""
    reader, writer = os.pipe2(os.O_DIRECT)  # each read returns one write
    with os.fdopen(reader, "rb", buffering=0) as read:
        program = "from snapmanage.cmd.process import output; output.line('ready')"
        subprocess.run([sys.executable, "-u", "-c", program], stdout=writer, check=True)
        os.close(writer)

        assert read.read(100) == b"ready\n"
