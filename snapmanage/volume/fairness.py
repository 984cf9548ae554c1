"""Whose turn it is: projects that wait for one backend are served by turns, so that a long queue keeps nobody waiting.

What is known here is what this process has accepted; everything else, and what is tried again, is taken
in the order in which it became due.
"""

import threading
from collections.abc import Iterable

# Projects that are remembered; more than that are served as they come.
MOST = 1000
# Projects that one claim serves by turns, beside what is longest due.
AT_ONCE = 4


class ProjectRoundRobin:
    """Projects with operations that wait, whoever was served longest ago first; for several threads."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._lock = threading.Lock()

    def wait(self, projects: Iterable[str]) -> None:
        """Queue them, each behind those who wait."""
        with self._lock:
            for project in projects:
                if len(self._waiting) < MOST:
                    self._waiting.setdefault(project)

    def next(self, number: int) -> list[str]:
        """Up to so many whose turn it is, who wait no more then; none where one alone waits."""
        with self._lock:
            if len(self._waiting) < 2:
                return []
            chosen = list(self._waiting)[: min(number, AT_ONCE)]
            for project in chosen:
                del self._waiting[project]
            return chosen
