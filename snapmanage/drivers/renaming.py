"""The one procedure with which drivers rename an object, safely and repeatably.

Most backends rename by name, but records know objects by identity. So every driver has two primitives, `look` and
`rename`, and this module calls them in the safe order: look, rename, look again. One look serves a whole batch, before
and after its renames. `snapmanage.core.backend` decides which objects may be renamed at all.

**Late renames.** A worker may stop between its look and its rename, and continue when its claim has long passed to
another worker. It may then still rename once. That is safe: the rename moves the object with the old name to the name
that was recorded with it. The recorded name is unique to one record, and a rename never replaces an object. The worker
then looks again; if the old name had passed to another object meanwhile, it restores that object's name. If the object
had been unmanaged meanwhile, it now has the managed name while it is unmanaged. Its identity and its data are
unchanged, so it can be managed again, or renamed by hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.crash import Point
from snapmanage.drivers.batch import NotTried, raise_or_return, try_one, try_until_unavailable
from snapmanage.drivers.progress import working_on

__all__ = ["Move", "Renamer", "manage", "manage_many", "unmanage", "unmanage_many"]

A = TypeVar("A")
End = BackendSnapshot | errors.SnapmanageError
Seen = Mapping[str, BackendSnapshot | errors.SnapmanageError]


@dataclass(frozen=True)
class Move:
    """The rename of one object of a batch, from the name `old` to the name `new`."""

    binding: Binding
    old: str
    new: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.old, self.new))

    def own(self, seen: Seen) -> dict[str, BackendSnapshot]:
        """Return the object of the move, by those of its two names that it has; raise the error of a name."""
        found = {name: raise_or_return(seen[name]) for name in (self.old, self.new) if name in seen}
        return {name: each for name, each in found.items() if each.identity == self.binding.identity}


class Renamer(Protocol):
    """The two primitives of a driver.

    A renamer may also have `is_still(name: str, identity: str) -> bool`, which returns whether a name still belongs to
    an object, where the backend can tell this at little cost. It is called right before each rename, which in a
    batch may be long after the look.

    Where each call costs, such as one to a helper, a renamer may have `rename_if_still(old: str, new: str, identity:
    str) -> None` instead. It makes the same check and the rename in one call, and raises `SourceNotFound` for another
    object.

    Where a rename has several steps, a renamer may also have
    `rename_many(moves: Sequence[Move]) -> Sequence[errors.SnapmanageError | None]`, which takes each step for all
    moves before the next step, and returns each failure. It is called instead of `is_still` and `rename`. It checks the
    identities itself, and calls `working_on` with the binding of each move.
    """

    def look(self, *names: str) -> Mapping[str, BackendSnapshot | errors.SnapmanageError]:
        """Return the present object of each name, even if it is not a snapshot; leave out free names.

        If one look can't cover all names, look at them in the order given. An error in the place of an object concerns
        only the operations with that name; an error that is raised concerns them all.
        """

    def rename(self, old: str, new: str) -> None:
        """Rename in one step, never replacing an object; raise an error of snapmanage if it failed or is uncertain."""


def manage(names: Renamer, binding: Binding) -> BackendSnapshot:
    """Rename the object to `managed_name`, as `Driver.manage_snapshot` requires."""
    [result] = manage_many(names, [binding])
    return raise_or_return(result)


def manage_many(names: Renamer, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
    """Rename each object to its `managed_name`, as `BatchDriver.manage_snapshots` requires."""
    moves = [Move(each, each.original_name, each.managed_name) for each in bindings]
    return _carry_out(names, moves, _finished_manage, lambda end: end)


def unmanage(names: Renamer, binding: Binding) -> bool:
    """Rename the object back to `original_name`, as `Driver.unmanage_snapshot` requires.

    Return whether it had one of the two names. If not, it is gone, has another name, or is elsewhere.
    """
    [result] = unmanage_many(names, [binding])
    return raise_or_return(result)


def unmanage_many(names: Renamer, bindings: Sequence[Binding]) -> list[bool | errors.SnapmanageError]:
    """Rename each object back to its `original_name`; return the result of `unmanage` for each, or its error."""
    moves = [Move(each, each.managed_name, each.original_name) for each in bindings]
    return _carry_out(names, moves, _finished_unmanage, _end_of_unmanage)


def _carry_out(
    names: Renamer,
    moves: Sequence[Move],
    finished: Callable[[Move, Seen], A | None],
    end: Callable[[End], A | errors.SnapmanageError],
) -> list[A | errors.SnapmanageError]:
    """Carry out a batch and return the results in the order of the moves.

    `finished` returns the result of a move that needs no rename, and `end` that of one that was renamed.
    """
    results: dict[int, A | errors.SnapmanageError] = {}
    for numbers in _rounds(moves):
        results |= zip(numbers, _round(names, [moves[number] for number in numbers], finished, end), strict=True)
    return [results[number] for number in range(len(moves))]


def _rounds(moves: Sequence[Move]) -> Iterator[list[int]]:
    """Yield the numbers of the moves of each round, in which no name occurs twice.

    A move whose name an earlier move has waits for the next round, since the look of a round shows it the state before
    that move.
    """
    waiting = list(range(len(moves)))
    while waiting:
        used: set[str] = set()
        now, later = list[int](), list[int]()
        for number in waiting:
            (now if used.isdisjoint(moves[number].names) else later).append(number)
            used |= moves[number].names
        yield now
        waiting = later


def _round(
    names: Renamer,
    moves: Sequence[Move],
    finished: Callable[[Move, Seen], A | None],
    end: Callable[[End], A | errors.SnapmanageError],
) -> list[A | errors.SnapmanageError]:
    """Look once, carry out the renames that are due, and look once more."""
    seen = _look(names, moves)
    crash.at(Point.BATCH_LOOKED)
    results = [try_one(finished, move, seen) for move in moves]
    due = [move for move, result in zip(moves, results, strict=True) if result is None]
    ends = iter(_rename(names, due) if due else ())
    return [end(next(ends)) if result is None else result for result in results]


def _look(names: Renamer, moves: Sequence[Move]) -> Seen:
    """Look at the old names first, so that another worker's rename can't hide an object."""
    return names.look(*(move.old for move in moves), *(move.new for move in moves))


def _finished_manage(move: Move, seen: Seen) -> BackendSnapshot | None:
    """Return the object if it has its managed name; raise an error if it is gone or must not be renamed."""
    own = move.own(seen)
    if move.new in own:
        return own[move.new]
    if move.old not in own:
        raise _gone(move.old)
    refuse_unsafe(own[move.old])
    return None


def _finished_unmanage(move: Move, seen: Seen) -> bool | None:
    """Return whether the object is there, if it hasn't got its managed name; raise an error if it is in use."""
    own = move.own(seen)
    managed = own.get(move.old)
    if managed is None or move.old == move.new:
        return bool(own)
    # An unusable snapshot is renamed too; only one in use is refused.
    if managed.unsafe is Unsafe.IN_USE:
        refuse_unsafe(managed)
    return None


def _end_of_unmanage(end: End) -> bool | errors.SnapmanageError:
    if isinstance(end, errors.SourceNotFound):
        return False
    return end if isinstance(end, errors.SnapmanageError) else True


def _rename(names: Renamer, moves: Sequence[Move]) -> list[End]:
    """Rename each object, then judge each by the objects that now have the names."""
    rename_many: Callable[[Sequence[Move]], Sequence[errors.SnapmanageError | None]]
    rename_many = getattr(names, "rename_many", partial(_rename_each, names))
    failures = rename_many(moves)
    crash.at(Point.BATCH_RENAMED)
    try:
        seen = _look(names, moves)
    except errors.SnapmanageError as failure:
        return [each if isinstance(each, NotTried) else failure for each in failures]
    return [_judge(names, move, failure, seen) for move, failure in zip(moves, failures, strict=True)]


def _rename_each(names: Renamer, moves: Sequence[Move]) -> list[errors.SnapmanageError | None]:
    return try_until_unavailable(partial(_rename_one, names), moves)


def _rename_one(names: Renamer, move: Move) -> None:
    """Rename if the old name is still that of the object."""
    working_on(move.binding)
    crash.at(Point.RENAMING)
    failure = try_one(_rename_if_still, names, move)
    crash.at(Point.RENAMED)
    raise_or_return(failure)


def _rename_if_still(names: Renamer, move: Move) -> None:
    identity = move.binding.identity
    if (rename_if_still := getattr(names, "rename_if_still", None)) is not None:
        rename_if_still(move.old, move.new, identity)
        return
    is_still = getattr(names, "is_still", None)
    if is_still is not None and not is_still(move.old, identity):
        raise _gone(move.old)
    names.rename(move.old, move.new)


def _judge(names: Renamer, move: Move, failure: errors.SnapmanageError | None, seen: Seen) -> End:
    """Return how a rename ended: by the objects that have the names now, and not by the result of the rename."""
    try:
        own = move.own(seen)
        if move.new in own:
            return own[move.new]
        if failure is None and move.new in seen and move.old not in seen:
            # Another object took the old name after the first look, and was moved; restore its name.
            names.rename(move.new, move.old)
    except errors.SnapmanageError as error:
        return error
    if move.old not in own:
        return _gone(move.old)
    if failure is None:
        return errors.BackendError(
            f"the backend reported the rename of {move.old!r} to {move.new!r} as done, but changed nothing"
        )
    if move.new in seen:
        return errors.NameTaken(
            f"another object is named {move.new!r}; rename it, so that {move.old!r} can get that name"
        )
    return failure


def _gone(name: str) -> errors.SourceNotFound:
    return errors.SourceNotFound(f"{name!r} is gone from the backend, or now belongs to another object; list it again")
