"""Run a main in this process, or in several processes that this one supervises."""

from collections.abc import Callable


def run(count: int, live: Callable[[], None], drain_seconds: float) -> None:
    """Run `live` in this process, or in `count` processes that this one supervises."""
    if count == 1:
        return live()
    # Import it only here: its library takes long to import.
    from snapmanage.cmd.process import supervisor

    supervisor.supervise(count, live, drain_seconds)
