"""Turn failures of storage systems into errors of snapmanage: of commands by their messages, of calls by their errno.

Each driver has a table of the failures that it knows. A failure outside the table becomes an error that is retried.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from snapmanage import errors
from snapmanage.drivers.system import permissions


class KnownFailure(NamedTuple):
    """The error that a failure becomes, and its text."""

    error: type[errors.SnapmanageError]
    text: str


def command_error(
    action: str, tool: str, exit_code: int, messages: str, known: Mapping[str, KnownFailure]
) -> errors.SnapmanageError:
    """Return the error for a failed command. The first pattern of `known` that is found in `messages` decides.

    The texts of `known` are remedies. A command that a signal ended has an error that is retried, since its messages
    may be incomplete.
    """
    line = on_one_line(messages)
    for pattern, (error, remedy) in known.items():
        if re.search(pattern, messages) and (exit_code >= 0 or issubclass(error, errors.BackendError)):
            return error(f"{action} failed: {remedy} ({tool} reports: {line})")
    if exit_code < 0:
        return errors.BackendUnavailable(f"{action} was ended at its deadline (signal {-exit_code}): {line}")
    return errors.BackendError(f"{action} failed with exit code {exit_code}: {line}")


@contextmanager
def translated_errors(name: str, known: Mapping[int, KnownFailure], otherwise: KnownFailure) -> Iterator[None]:
    """Raise an error of snapmanage in the place of an `OSError`; its errno decides.

    The texts of `known` and `otherwise` describe problem and remedy, with `{!r}` in the place of the object's `name`,
    and `{user}` in that of the user of this process.
    """
    try:
        yield
    except OSError as failure:
        error, text = known.get(failure.errno or 0, otherwise)
        names = {"user": permissions.user()} if "{user}" in text else {}
        raise error(f"{text.format(name, **names)} ({permissions.system_error(failure)})") from failure


def on_one_line(text: str) -> str:
    return " ".join(text.split())
