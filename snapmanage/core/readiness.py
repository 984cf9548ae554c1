"""The checks of a process: whether it is ready for work, and the text of a probe's answer."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snapmanage.core.values.text import cut, printable

LONGEST_PROBLEM = 300
_LOGIN = re.compile(r"//[^/@\s]*@")
_PASSWORD = re.compile(r"(?i)(pass(?:word|wd)?|secret|token)(['\"]?\s*[=:]\s*)\S+")


@dataclass(frozen=True)
class Check:
    """One check of a process by its name, such as `database`; `problem` says what is wrong, None if it is fine."""

    name: str
    problem: str | None = None


def failed(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if check.problem is not None]


def report(checks: Sequence[Check], probe: str) -> str:
    """Return a line for each check and one for the whole, in the format of Kubernetes' own probes."""
    lines = [_line(check) for check in checks]
    return "\n".join([*lines, f"{probe} check {'failed' if failed(checks) else 'passed'}"])


def in_one_line(problem: str) -> str:
    """Return the text of a problem for a page without authentication: one short line without passwords."""
    first = problem.strip().partition("\n")[0]
    hidden = _PASSWORD.sub(r"\1\2***", _LOGIN.sub("//***@", first))
    return cut(printable(hidden), LONGEST_PROBLEM)


def together(workers: Sequence[Sequence[Check]]) -> list[Check]:
    """Return the checks of several processes of one service: each name once, with the first problem of a process."""
    problems: dict[str, str | None] = {}
    for check in (check for checks in workers for check in checks):
        problems[check.name] = problems.get(check.name) or check.problem
    return [Check(name, problem) for name, problem in problems.items()]


def _line(check: Check) -> str:
    return f"[+]{check.name} ok" if check.problem is None else f"[-]{check.name} failed: {in_one_line(check.problem)}"
