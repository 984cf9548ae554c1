"""Call a driver from several threads, measure the calls, and abandon those that hang."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from snapmanage.core.values.logfields import fields
from snapmanage.drivers.progress import reported
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.volume.driver_call import JOINED_SECONDS, Call, Limits
from snapmanage.volume.steps import Step
from snapmanage.volume.waiting import Lane, Waiting

LOG = logging.getLogger(__name__)

# Weight of the newest operation in the mean duration.
NEWEST_WEIGHT = 0.1
# Seconds that a step is assumed to take until a call has been measured.
ASSUMED_SECONDS = 1.0
# The pool replaces hung threads until this many times its size hang.
HUNG_POOLS = 4
# A call that works on one operation for longer gives those behind it to other calls.
SLOW_SECONDS = 0.5

Answer = Resolution | Outcome


class DriverPool:
    """Threads that run `call` on submitted operations and pass each result to `answer`.

    The threads start with the first operation. A call has operations of one kind of step: as many as wait, up to the
    limits, and divided among the threads unless they are very quick. So a lone operation starts at once, and a batch
    grows with the backlog. A hung call can't be ended: the pool abandons its thread and starts another one. An
    operation for which `call` returns None is submitted again.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        call: Callable[[Sequence[Claimed]], Sequence[Answer | None]],
        answer: Callable[[Answer], None],
    ) -> None:
        self._name = name
        self._limits = limits
        self._call = call
        self._answer = answer
        self._changed = threading.Condition()  # its lock guards all that follows
        self._waiting = Waiting()
        self._stopped = False
        self._working = 0
        self._hung: set[threading.Thread] = set()
        self._running: dict[threading.Thread, Call] = {}
        # Mean seconds of each step of an operation; an operation may consist of the last step alone.
        self._means: dict[type[Answer], float] = {Outcome: ASSUMED_SECONDS}

    def submit(self, claimed: Sequence[Claimed]) -> None:
        if not claimed:
            return
        with self._changed:
            for each in claimed:
                self._waiting.add(each)
            if not self._working and not self._hung:
                self._start_missing_threads()
            self._changed.notify(len(claimed))

    def capacity(self, seconds: float) -> int:
        """Return how many operations the driver finishes in that time, by the mean duration of its steps."""
        calls = min(self._limits.threads, self._limits.calls_of_a_step)
        return int(calls * seconds / max(sum(list(self._means.values())), 1e-6))

    @property
    def hangs(self) -> bool:
        """Return whether calls were abandoned, and no thread is left for further ones."""
        with self._changed:
            return bool(self._hung) and not self._working

    def positions(self) -> dict[str, tuple[int, int]]:
        """Return the positions of the records in running batches of several operations; see `Call.positions`."""
        with self._changed:
            batches = [call for call in self._running.values() if len(call.claimed) > 1]
        return {record: position for call in batches for record, position in call.positions().items()}

    def divide_slow_calls(self) -> None:
        """Submit the operations again that wait behind a slow one of their call; a driver takes these one by one."""
        moved_before = time.monotonic() - SLOW_SECONDS
        with self._changed:
            slow = [call for call in self._running.values() if call.progress.moved_at < moved_before]
            withdrawn = [each for call in slow for each in call.withdraw()]
            for each in withdrawn:
                self._waiting.add(each)
            self._changed.notify(len(withdrawn))

    def abandon(self, seconds: float) -> list[Claimed]:
        """Abandon the calls that have not moved for `seconds`, and return the operations that hang.

        The others of a batch are submitted again. If every thread hangs, the waiting operations are returned too.
        """
        moved_before = time.monotonic() - seconds
        with self._changed:
            hung = {thread: call for thread, call in self._running.items() if call.progress.moved_at < moved_before}
            found = [claimed for thread, call in hung.items() for claimed in self._give_up(thread, call)]
            if hung or self._waiting:
                self._start_missing_threads()
            all_hang = self._hung and not self._working
            return found + self._waiting.withdraw() if all_hang else found

    def stop(self) -> None:
        """Start no further call."""
        with self._changed:
            self._waiting.withdraw()
            self._stopped = True
            self._changed.notify_all()

    def _give_up(self, thread: threading.Thread, call: Call) -> list[Claimed]:
        del self._running[thread]
        self._hung.add(thread)
        self._working -= 1
        self._waiting.lanes[call.step].running -= 1
        hung, others = call.hung_and_others()
        for each in others:
            self._waiting.add(each)
        self._changed.notify(len(others))
        return hung

    def _start_missing_threads(self) -> None:
        """Start threads until the pool is full; if the system refuses one, `abandon` tries again."""
        while self._working < self._limits.threads and len(self._hung) < HUNG_POOLS * self._limits.threads:
            name = f"{self._name} {self._working + 1}"
            try:
                threading.Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError as error:
                LOG.warning("Can't start a thread for the driver yet; retrying: %s", fields(pool=name, reason=error))
                return
            self._working += 1

    def _run(self) -> None:
        """Call the driver until `stop`; after an abandoned call, continue only if the pool lacks a thread."""
        me = threading.current_thread()
        while call := self._next_call(me):
            with reported(call.progress):
                answers = self._call(call.claimed)
            if self._was_abandoned(me, call):
                if not self._rejoin(me):
                    return
                continue
            self._take(call, answers)

    def _take(self, call: Call, answers: Sequence[Answer | None]) -> None:
        """Pass the answers on; submit the operations again that the driver has not tried."""
        tried = [answer for answer in answers if answer is not None]
        self._measure(tried, time.monotonic() - call.started)
        untried = [each for each, answer in zip(call.claimed, answers, strict=True) if answer is None]
        self.submit([each for each in untried if each.record.id not in call.withdrawn])
        for answer in tried:
            self._answer(answer)

    def _next_call(self, me: threading.Thread) -> Call | None:
        """Wait for a call to make; return None after `stop`."""
        with self._changed:
            while not self._stopped:
                if step := self._waiting.choose(self._is_free):
                    lane = self._waiting.lanes[step]
                    call = Call(step, lane.take(self._share(step, lane)))
                    lane.running += 1
                    self._running[me] = call
                    return call
                self._changed.wait()
        return None

    def _is_free(self, lane: Lane) -> bool:
        return lane.running < self._limits.calls_of_a_step

    def _share(self, step: Step, lane: Lane) -> int:
        """Return how many operations a call gets: a fair share of those that wait, and not too many for its time."""
        kind = Resolution if step is Step.FIND_SNAPSHOT else Outcome
        mean = max(self._means.get(kind, ASSUMED_SECONDS), 1e-6)
        fair = -(-len(lane) // (self._limits.calls_of_a_step - lane.running))
        shared = max(fair, int(JOINED_SECONDS / mean))
        return max(1, min(self._limits.batch, int(self._limits.seconds / mean), shared))

    def _was_abandoned(self, me: threading.Thread, call: Call) -> bool:
        with self._changed:
            if self._running.pop(me, None) is None:
                return True
            self._waiting.lanes[call.step].running -= 1
            self._changed.notify()
            return False

    def _rejoin(self, me: threading.Thread) -> bool:
        """Return whether a thread whose call was abandoned is needed again."""
        with self._changed:
            self._hung.remove(me)
            needed = self._working < self._limits.threads
            self._working += int(needed)
            return needed

    def _measure(self, answers: Sequence[Answer], seconds: float) -> None:
        """Let each operation of a call count in the mean duration of its step."""
        kind, number = type(answers[0]), len(answers)
        mean = self._means.get(kind, ASSUMED_SECONDS)
        self._means[kind] = mean + (1 - (1 - NEWEST_WEIGHT) ** number) * (seconds / number - mean)
