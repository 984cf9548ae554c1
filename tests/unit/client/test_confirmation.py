"""`apply` and `undo` start after `--yes`, or after a line with yes, typed or piped."""

import io

import pytest

from snapmanage import errors
from snapmanage.client.commands.running import require_yes
from snapmanage.client.events import Reporter


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
