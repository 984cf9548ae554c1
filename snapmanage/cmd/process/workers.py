"""Run a main in this process, or in several processes that this one supervises."""

from collections.abc import Callable


def run(count: int, serve: Callable[[], None], drain_seconds: float) -> None:
    """Run `serve` in this process, or in `count` processes that this one supervises."""
    if count == 1:
        return serve()
    # Import it only here: its library takes long to import.
    from snapmanage.cmd.process import supervisor

    supervisor.supervise(count, serve, drain_seconds)
