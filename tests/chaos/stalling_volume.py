"""snapmanage-volume with a journal of its renames, which can stall right before a rename, or right after it.

Arguments: the journal's path, `go`, `stall` (after a rename, for good), `after` or `before`, then those of
snapmanage-volume. Each rename that was done is a line in the journal, and each that is about to be done
one that begins with `?`; each is written before the stall, so that a test knows when to strike. `after`
and `before` stall until the journal's folder has a file `go`.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snapmanage.cmd import volume
from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.system import syscalls


def journaled(rename: Callable[..., Any], journal: Path, manner: str) -> Callable[..., Any]:
    """The same rename, written down."""

    def stall() -> None:
        while not (journal.parent / "go").exists():
            time.sleep(0.01)

    def renamed(*arguments: Any) -> Any:
        if manner == "before":
            note(journal, f"? {arguments[1]} -> {arguments[2]}")
            stall()
        answer = rename(*arguments)
        note(journal, f"{arguments[1]} -> {arguments[2]}")
        if manner == "after":
            stall()
        if manner == "stall":
            threading.Event().wait()
        return answer

    return renamed


def note(journal: Path, line: str) -> None:
    with journal.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    journal, manner = Path(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    syscalls.rename_noreplace = journaled(syscalls.rename_noreplace, journal, manner)
    privileged.lvrename = journaled(privileged.lvrename, journal, manner)  # type: ignore[assignment]
    sys.exit(volume.main())
