"""Renames of backing files: every chain stays valid, even if the worker crashes between two steps.

The steps: a hard link adds the new name to the file; each overlay that records the old name gets the new one; the old
name is removed. Between these steps both names lead to the file, so every chain is complete. A batch takes each step
for all of its files before the next step, so that one scan and one write of the directory to disk serve all of them.
`finish_interrupted` recognizes a rename that a crash interrupted: the file has both names, or an overlay still records
the old name. It then finishes the rename, or undoes it if the next operation needs the other name.

A batch scans the directory three times. The first scan decides which files may be renamed, and lists their overlays.
The second one, right before the first old name is removed, finds overlays that other programs have made meanwhile. The
third one, after the last removal, finds those that were made during the removals.

Several `qemu-img` run at once, since each changes another overlay, and none needs another one's result.

All steps run under the lock of the directory (`lock`). `qemu-img` inherits the lock: if it outlives its worker, the
next worker waits until it ends. A frozen worker keeps the lock, and other workers fail with an error that a retry can
cure.

A host that is cut off from a network file system loses its lock. The steps that it takes late do no harm:

* It adds a name only if that name is free.
* It records a backing file name only after it has seen the file under that name, and the next `finish_interrupted`
  corrects the name.
* It never removes the last name of a file, because it restores a name if the other one is gone (`links`).
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.crash import Point
from snapmanage.drivers.batch import NotTried
from snapmanage.drivers.qcow2 import links, qemu_img
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.image import Overlay
from snapmanage.drivers.qcow2.lookup import Lookup
from snapmanage.drivers.qcow2.steps import Failures, take_each, take_together
from snapmanage.drivers.renaming import Move
from snapmanage.drivers.system import files, syscalls
from snapmanage.drivers.system.files import translated_errors

# qemu-img processes at the same time; each uses up to `qemu_img.MEMORY_BYTES`.
MOST_PROCESSES = 4

T = TypeVar("T")


class DirectoryRenamer:
    """A directory whose lock this process holds; a `Renamer`."""

    def __init__(self, directory: Directory, lock: int, timeout_seconds: float) -> None:
        self.directory = directory
        self._lock = lock
        self._timeout_seconds = timeout_seconds
        # The last scan; None after a change by this process.
        self._scanned: Chains | None = None

    def chains(self) -> Chains:
        """Return the images of the last scan; scan again if this process has changed something since."""
        return self._scanned or self._scan()

    def carry_out(
        self,
        moves: Sequence[Move],
        rename: Callable[["DirectoryRenamer", Sequence[Binding]], Sequence[T | errors.SnapmanageError]],
    ) -> list[T | errors.SnapmanageError]:
        """Finish the renames that were interrupted, then `rename` all; return the result or the error of each move."""
        failures = self.finish_interrupted(moves)
        results = iter(rename(self, [each.binding for each in moves if each not in failures]))
        return [failures[each] if each in failures else next(results) for each in moves]

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        lookup = Lookup(self.directory, self.chains())
        described = {name: lookup.object(name) for name in names}
        return {name: found for name, found in described.items() if found}

    def rename(self, old: str, new: str) -> None:
        binding = Binding(self.directory.identity(old) or "", old, new)
        [failure] = self.rename_many([Move(binding, old, new)])
        if failure:
            raise failure

    def rename_many(self, moves: Sequence[Move]) -> list[errors.SnapmanageError | None]:
        """Take each step for all moves; if a step of a move fails, undo its finished steps as far as possible."""
        chains = self.chains()
        failures = take_each(partial(self._begin, chains), moves)
        if begun := [each for each in moves if each not in failures]:
            self._sync()
            unfinished = self._complete(begun, chains, new=True)
            if unfinished:
                self._complete([_reversed(each) for each in unfinished], self.chains())
            failures |= unfinished
        return [failures.get(each) for each in moves]

    def finish_interrupted(self, moves: Sequence[Move]) -> Failures:
        """If the rename of a move was interrupted, in either direction, give its file the new name.

        Return the failures.
        """
        hidden = links.recover(self.directory)
        failures = {move: hidden[name] for move in moves for name in (move.old, move.new) if name in hidden}
        moved = [each for each in dict.fromkeys(moves) if each not in failures and self._has_new_name(each)]
        if moved:
            # The dead worker may not have written its last steps to disk.
            self._sync()
        interrupted = [
            each
            for each in moved
            if self.directory.identity(each.old) == each.binding.identity
            or self._overlays_to_rebase(self.chains(), each)
        ]
        return failures | self._complete(interrupted, self.chains()) if interrupted else failures

    def _has_new_name(self, move: Move) -> bool:
        return move.old != move.new and self.directory.identity(move.new) == move.binding.identity

    def _begin(self, chains: Chains, move: Move) -> None:
        crash.at(Point.RENAMING)
        _refuse_obstructed(chains, move)
        self._add_name(move)

    def _add_name(self, move: Move) -> None:
        self._scanned = None
        links.add(self.directory, move.old, move.new, move.binding.identity)

    def _complete(self, moves: Sequence[Move], chains: Chains, new: bool = False) -> Failures:
        """Move all overlays from the old names of the files to the new ones, then remove the old names.

        `chains` are the images before the first overlay is changed. A `new` rename is refused for what other programs
        have changed since; otherwise a rename is finished or undone. Return the failures.
        """
        failures = self._rebase_all(moves, chains, new)
        if ready := [each for each in moves if each not in failures]:
            late = partial(self._rebase_late, self._scan(), new)
            failures |= take_each(late, ready)
        if ready := [each for each in ready if each not in failures]:
            failures |= take_each(self._remove_old_name, ready)
            self._sync()
            # The old names are gone, so each move is checked, even if the storage fails on one of them.
            removed = [each for each in ready if each not in failures]
            failures |= take_each(self._confirm, removed, stop_if_unavailable=False)
        return failures

    def _rebase_all(self, moves: Sequence[Move], chains: Chains, new: bool) -> Failures:
        """Rebase the overlays of some moves at once; refuse a new rename of a file that a process has opened since."""
        failures: Failures = {}
        for start in range(0, len(moves), MOST_PROCESSES):
            if unavailable := [each for each in failures.values() if isinstance(each, errors.BackendUnavailable)]:
                return failures | dict.fromkeys(moves[start:], NotTried(str(unavailable[0])))
            some = moves[start : start + MOST_PROCESSES]
            # No qemu-img of this batch runs now: its lock on an overlay would look like that of another process.
            opened = take_each(self._refuse_opened, some) if new else {}
            closed = [each for each in some if each not in opened]
            failures |= opened | take_together(partial(self._rebase_overlays, chains), closed)
        return failures

    def _refuse_opened(self, move: Move) -> None:
        with self.directory.opened(move.old) as fd, translated_errors(move.old):
            if fd is not None and syscalls.locked(fd):
                raise errors.InUse(f"a process has opened {move.old!r}: close it, then repeat the request")

    def _rebase_late(self, chains: Chains, new: bool, move: Move) -> None:
        """Rebase the overlays that other programs have made since the first scan."""
        if new:
            _refuse_obstructed(chains, move)
        self._rebase_overlays(chains, move)

    def _rebase_overlays(self, chains: Chains, move: Move) -> None:
        if self.directory.identity(move.new) != move.binding.identity:
            raise errors.SourceNotFound(f"{move.new!r} was removed during the rename: list the snapshots again")
        for overlay in self._overlays_to_rebase(chains, move):
            # Keep the folder as the overlay spells it. A name with a colon needs `./`, or QEMU would read a protocol.
            folder, slash, _ = overlay.backing_file_name.rpartition("/")
            self._rebase(overlay, f"{folder}{slash}{move.new}" if slash or ":" not in move.new else f"./{move.new}")

    def _overlays_to_rebase(self, chains: Chains, move: Move) -> Sequence[Overlay]:
        """Return the overlays that record the old name of the file; none if another file has that name by now."""
        is_own = self.directory.identity(move.old) in (None, move.binding.identity)
        return chains.overlays_recording(move.old) if is_own else ()

    def _rebase(self, overlay: Overlay, backing_file_name: str) -> None:
        self._scanned = None
        if overlay.rebase_refusal:
            raise errors.Unusable(f"{overlay.name!r} can't record another backing file name: {overlay.rebase_refusal}")
        with self.directory.opened(overlay.name, files.PROBE_FLAGS | os.O_RDWR) as fd:
            if fd is None or syscalls.opened_status(fd).identity != overlay.image.identity:
                raise errors.BackendBusy(
                    f"the overlay {overlay.name!r} was replaced during the rename, or snapmanage has no "
                    "permission to write it: let its user read and write the file"
                )
            outcome = qemu_img.rebase(fd, backing_file_name, overlay.format, self._lock, self._timeout_seconds)
            with translated_errors(overlay.name):
                os.fdatasync(fd)
        # The name in the overlay decides, not the exit code of the command.
        image = self.directory.read_image(overlay.name)
        if image and image.header and image.header.backing_file_name == backing_file_name:
            return
        if image and image.locked:
            raise errors.InUse(f"a process has opened the overlay {overlay.name!r}: close it, then repeat the request")
        raise errors.BackendError(f"qemu-img couldn't change the backing file name of {overlay.name!r}: {outcome}")

    def _remove_old_name(self, move: Move) -> None:
        self._scanned = None
        if self.directory.identity(move.old) == move.binding.identity:
            links.remove(self.directory, move.old, move.new, move.binding.identity)
        crash.at(Point.RENAMED)

    def _confirm(self, move: Move) -> None:
        """Restore the old name if a file needs it and can't be rewritten."""
        try:
            # Another program may have made an overlay on the old name before it was removed.
            self._rebase_overlays(self.chains(), move)
            # A file may also use the old name in a form that can't be rewritten.
            if reason := self.chains().name_obstacle(move.old):
                raise errors.Unusable(f"renaming {move.old!r} would break the chain of another image: {reason}")
        except errors.SnapmanageError:
            self._add_name(_reversed(move))
            self._sync()
            raise

    def _scan(self) -> Chains:
        self._scanned = self.directory.scan()
        return self._scanned

    def _sync(self) -> None:
        """Write the directory to disk, so that a power failure can't undo a step that later steps rely on."""
        with translated_errors(self.directory.path):
            os.fsync(self.directory.fd)


def _reversed(move: Move) -> Move:
    return Move(move.binding, move.new, move.old)


def _refuse_obstructed(chains: Chains, move: Move) -> None:
    if reason := chains.rename_obstacle(move.old, move.binding.identity):
        raise errors.Unusable(f"renaming {move.old!r} might break the chain of another image: {reason}")
