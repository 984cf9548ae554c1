"""The operations that wait for a driver: a lane for each kind of step, in which projects take turns.

Not thread-safe: the pool that owns it has a lock.
"""

import itertools
from collections import deque
from collections.abc import Callable

from snapmanage.manage.claims import Claimed
from snapmanage.volume.steps import Step, next_step


class Lane:
    """The operations that wait for one kind of step; `running` counts the calls that are under way."""

    def __init__(self) -> None:
        self.running = 0
        self._projects: dict[str, deque[tuple[int, Claimed]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def arrival(self) -> int:
        """Return the number of the operation that is next in turn, in the order of their arrival."""
        return next(iter(self._projects.values()))[0][0]

    def add(self, number: int, claimed: Claimed) -> None:
        self._projects.setdefault(claimed.record.requester.project_id, deque()).append((number, claimed))
        self._length += 1

    def take(self, most: int) -> list[Claimed]:
        """Remove and return up to `most` operations, one of each project in turn."""
        taken: list[Claimed] = []
        while self._projects and len(taken) < most:
            project = next(iter(self._projects))
            queue = self._projects.pop(project)
            taken.append(queue.popleft()[1])
            if queue:
                self._projects[project] = queue  # at the end: the others are next
        self._length -= len(taken)
        return taken


class Waiting:
    """All lanes."""

    def __init__(self) -> None:
        self.lanes = {step: Lane() for step in Step}
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def add(self, claimed: Claimed) -> None:
        self.lanes[next_step(claimed)].add(next(self._arrivals), claimed)

    def choose(self, is_free: Callable[[Lane], bool]) -> Step | None:
        """Return the step whose operation has waited longest, of the lanes that are free; None if none waits there."""
        ready = {step: lane for step, lane in self.lanes.items() if lane and is_free(lane)}
        return min(ready, key=lambda step: ready[step].arrival) if ready else None

    def withdraw(self) -> list[Claimed]:
        """Remove and return all operations."""
        return [claimed for lane in self.lanes.values() for claimed in lane.take(len(lane))]
