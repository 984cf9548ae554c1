"""Failures of commands and calls become errors of snapmanage, by a driver's table."""

import errno

import pytest

from snapmanage import errors
from snapmanage.drivers.system.failures import KnownFailure, command_error, translated_errors

MESSAGES = {
    r"busy": KnownFailure(errors.InUse, "close it"),
    r"locked": KnownFailure(errors.BackendBusy, "wait"),
}
NUMBERS = {errno.EEXIST: KnownFailure(errors.NameTaken, "{!r} is taken; rename it")}
OTHER = KnownFailure(errors.BackendUnavailable, "the call failed on {!r}")


@pytest.mark.parametrize(
    ("exit_code", "messages", "error", "text"),
    [
        (1, "it is\nbusy", errors.InUse, "renaming failed: close it (tool reports: it is busy)"),
        (1, "odd", errors.BackendError, "renaming failed with exit code 1: odd"),
        (-15, "odd", errors.BackendUnavailable, "renaming was ended at its deadline (signal 15): odd"),
        (-15, "locked", errors.BackendBusy, "renaming failed: wait (tool reports: locked)"),
        (-15, "busy", errors.BackendUnavailable, "renaming was ended at its deadline (signal 15): busy"),
    ],
)
def test_messages_decide_the_error_of_a_command_unless_a_signal_cut_them_short(
    exit_code: int, messages: str, error: type[errors.SnapmanageError], text: str
) -> None:
    found = command_error("renaming", "tool", exit_code, messages, MESSAGES)

    assert (type(found), str(found)) == (error, text)


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (errno.EEXIST, errors.NameTaken, "'daily' is taken; rename it (EEXIST: File exists)"),
        (errno.EIO, errors.BackendUnavailable, "the call failed on 'daily' (EIO: Input/output error)"),
    ],
)
def test_errno_decides_the_error_of_a_call(number: int, error: type[errors.SnapmanageError], text: str) -> None:
    with pytest.raises(error) as caught, translated_errors("daily", NUMBERS, OTHER):
        raise OSError(number, "File exists" if number == errno.EEXIST else "Input/output error")

    assert str(caught.value) == text


def test_exceptions_of_other_kinds_pass_unchanged() -> None:
    with pytest.raises(KeyError), translated_errors("daily", NUMBERS, OTHER):
        raise KeyError("daily")
