"""Serve the projects that wait for one backend in a round robin, so that a long queue delays no other project.

The round robin knows the operations that this process has accepted. Operations of other processes, and retries, are
claimed in the order in which they became due.
"""

import threading
from collections.abc import Iterable

# Projects in the round robin; any further project is served in the order in which its operations became due.
MAX_PROJECTS = 1000
# Projects that get a share of one claim, beside the operations that have been due longest.
SHARES_PER_CLAIM = 4


class ProjectRoundRobin:
    """The projects whose operations wait, in the order in which they are served; thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, projects: Iterable[str]) -> None:
        """Add projects to the end of the queue, unless they are in it."""
        with self._lock:
            for project in projects:
                if len(self._waiting) < MAX_PROJECTS:
                    self._waiting.setdefault(project)

    def take_next(self, number: int) -> list[str]:
        """Remove and return up to `number` projects from the head of the queue; none if only one project waits."""
        with self._lock:
            if len(self._waiting) < 2:
                return []
            chosen = list(self._waiting)[: min(number, SHARES_PER_CLAIM)]
            for project in chosen:
                del self._waiting[project]
            return chosen
