"""A step for many moves, one after the other or several at once; an error concerns one move."""

import threading
from collections.abc import Callable, Sequence

from snapmanage import errors
from snapmanage.drivers.batch import NotTried
from snapmanage.drivers.progress import working_on
from snapmanage.drivers.renaming import Move

Failures = dict[Move, errors.SnapmanageError]
Step = Callable[[Move], None]


def attempt_each(step: Step, moves: Sequence[Move], stop_if_unavailable: bool = True) -> Failures:
    """Take a step for each move, and return the failures.

    A storage that doesn't respond is not asked again for each of the rest.
    """
    failures: Failures = {}
    for position, move in enumerate(moves):
        try:
            step(move)
        except errors.SnapmanageError as failure:
            failures[move] = failure
            if stop_if_unavailable and isinstance(failure, errors.BackendUnavailable):
                return failures | dict.fromkeys(moves[position + 1 :], NotTried(str(failure)))
    return failures


def attempt_together(step: Step, moves: Sequence[Move]) -> Failures:
    """Like `attempt_each`, in a thread for each move; report the move that is waited for as the current one."""
    attempts = [_Attempt(step, each) for each in moves]
    for each in attempts:
        each.start()
    for each in attempts:
        working_on(each.move.binding)
        each.join()
    return {each.move: failure for each in attempts if (failure := each.failure())}


class _Attempt(threading.Thread):
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
