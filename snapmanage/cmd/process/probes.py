"""The probes of a process: `/livez` says whether to restart it, `/readyz` whether it can work now."""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from snapmanage.cmd.process.liveness import Liveness
from snapmanage.cmd.process.status_server import Answer, Pages
from snapmanage.core.readiness import Check, failed, report
from snapmanage.pulse import Pulse

LIVE, READY = "livez", "readyz"


class _Phase(Enum):
    """The phases of a process; each value is the problem of a process that can't work for that reason."""

    STARTING = "the process is starting"
    SERVING = None
    STOPPING = "the process is stopping"


class Probes:
    """Both probes of a process, which is starting until `serve`; a thread is hung after `hung_seconds` in one turn."""

    def __init__(self, hung_seconds: float) -> None:
        self._hung_seconds = hung_seconds
        self._phase = _Phase.STARTING
        self._liveness = Liveness(list, hung_seconds)
        self._checks: Callable[[], Sequence[Check]] = list

    def serve(self, pulses: Callable[[], Iterable[Pulse]], checks: Callable[[], Sequence[Check]]) -> None:
        """Answer with the state of the process's parts, which have started, from now on."""
        self._liveness, self._checks = Liveness(pulses, self._hung_seconds), checks
        self._phase = _Phase.SERVING

    def stop(self) -> None:
        """Report the process as not ready from now on, so that no new work is sent to it."""
        self._phase = _Phase.STOPPING

    def alive(self) -> bool:
        """Return whether every thread turns or waits, for a watchdog."""
        return self._liveness.alive()

    def live(self) -> list[Check]:
        return [Check("threads", "; ".join(self._liveness.problems()) or None)]

    def ready(self) -> list[Check]:
        checks = self._checks() if self._phase is _Phase.SERVING else []
        return [Check("process", self._phase.value), *self.live(), *checks]

    def pages(self) -> Pages:
        return pages(self.live, self.ready)


def pages(live: Callable[[], Sequence[Check]], ready: Callable[[], Sequence[Check]]) -> Pages:
    """Return the pages of both probes, from functions that return their checks."""
    return {f"/{LIVE}": lambda: answer(live(), LIVE), f"/{READY}": lambda: answer(ready(), READY)}


def answer(checks: Sequence[Check], probe: str) -> Answer:
    """Return 200 if every check is fine, 503 otherwise, with a line for each."""
    return Answer.text(503 if failed(checks) else 200, report(checks, probe))
