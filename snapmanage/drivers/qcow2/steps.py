"""A step for many moves, one after the other or several at once; an error concerns one move."""

import threading
from collections.abc import Callable, Sequence

from snapmanage import errors
from snapmanage.drivers.batch import try_each, try_until_unavailable
from snapmanage.drivers.progress import working_on
from snapmanage.drivers.renaming import Move

Failures = dict[Move, errors.SnapmanageError]
Step = Callable[[Move], None]


def take_each(step: Step, moves: Sequence[Move], stop_if_unavailable: bool = True) -> Failures:
    """Take a step for each move, and return the failures.

    A storage that doesn't respond is not asked again for each of the rest.
    """
    take = try_until_unavailable if stop_if_unavailable else try_each
    results = zip(moves, take(step, moves), strict=True)
    return {move: result for move, result in results if result is not None}


def take_together(step: Step, moves: Sequence[Move]) -> Failures:
    """Like `take_each`, in a thread for each move; report the move that is waited for as the current one."""
    steps = [_StepInThread(step, each) for each in moves]
    for each in steps:
        each.start()
    for each in steps:
        working_on(each.move.binding)
        each.join()
    return {each.move: failure for each in steps if (failure := each.failure())}


class _StepInThread(threading.Thread):
    """A thread that takes a step for one move; a hung one doesn't keep the process from its end."""

    def __init__(self, step: Step, move: Move) -> None:
        super().__init__(name=f"rename of {move.old}", daemon=True)
        self.move = move
        self._step = step
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._step(self.move)
        except BaseException as error:  # noqa: BLE001 - `failure` raises it in the thread of the batch
            self._raised = error

    def failure(self) -> errors.SnapmanageError | None:
        """Return the error of snapmanage that the step raised; raise any other one."""
        if self._raised is None or isinstance(self._raised, errors.SnapmanageError):
            return self._raised
        raise self._raised
