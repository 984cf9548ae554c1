"""One call of a driver: its operations, how far it is, and the limits of calls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from snapmanage.drivers.progress import Progress
from snapmanage.manage.claims import Claimed
from snapmanage.volume import steps
from snapmanage.volume.steps import Step

# A batch has as many operations as the driver finishes in this time: with fewer, the looks at the backend would count;
# with more, an operation that arrives after the start of the batch would wait for longer.
BATCH_SECONDS = 30.0
# Operations that the driver finishes together in this time are one call: several threads would gain nothing.
JOINED_SECONDS = 0.05


@dataclass(frozen=True)
class Limits:
    """How a driver is called: from how many threads, with how many operations of one kind at a time and in a call.

    `seconds` is the time that a call is expected to take at most.
    """

    threads: int
    calls_of_a_step: int
    batch: int = 1
    seconds: float = BATCH_SECONDS


@dataclass
class Call:
    """One call of the driver: its operations, how far it is, and those that other calls have got from it."""

    step: Step
    claimed: Sequence[Claimed]
    started: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)
    withdrawn: set[str] = field(default_factory=set)  # ids of records

    @property
    def own(self) -> list[Claimed]:
        """Return the operations that no other call has got."""
        return [each for each in self.claimed if each.record.id not in self.withdrawn]

    def withdraw(self) -> list[Claimed]:
        """Take from the call, and return, the operations that the driver has not begun and takes one by one."""
        asked = [each for each in self.own if steps.entry(each) is not None]
        withdrawn = asked[len(asked) - self.progress.withdraw() :]
        self.withdrawn |= {each.record.id for each in withdrawn}
        return withdrawn

    def hung_and_others(self) -> tuple[list[Claimed], list[Claimed]]:
        """Return the operation on which the driver hangs, and the others; all operations if it reports none."""
        own, current = self.own, self.progress.current
        hung = [each for each in own if steps.concerns(each, current)]
        return hung or own, [each for each in own if hung and each not in hung]

    def positions(self) -> dict[str, tuple[int, int]]:
        """Return the position of each record of a batch, which falls to 1, and the size of the batch."""
        own, done = self.own, max(0, self.progress.begun - 1)
        return {each.record.id: (max(1, number - done), len(own)) for number, each in enumerate(own, 1)}
