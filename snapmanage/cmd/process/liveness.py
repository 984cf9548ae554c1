"""Whether a process is alive: each of its loops turns, or waits for work.

A process whose database or broker is away is alive, since a restart would not help it.
"""

from collections.abc import Callable, Iterable

from snapmanage import pulse
from snapmanage.pulse import Pulse


class Liveness:
    """The loops of a process; `pulses` returns those that run at the moment.

    A loop is hung when one of its turns takes longer than `hung_seconds`.
    """

    def __init__(self, pulses: Callable[[], Iterable[Pulse]], hung_seconds: float) -> None:
        self._pulses = pulses
        self._hung_seconds = hung_seconds

    def problems(self) -> list[str]:
        """Return a sentence for each thread that is hung or has died."""
        return pulse.problems(self._pulses(), self._hung_seconds)

    def alive(self) -> bool:
        return not self.problems()
