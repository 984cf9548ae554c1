"""snapmanage-volume with a journal of its renames, which can stall directly before or after a rename.

Arguments: the journal's path; `go` (never stall), `stall` (after a rename, for good), `after` or `before`; then the
arguments of snapmanage-volume. `after` and `before` stall until the journal's folder has a file `go`.

The journal gets a line for each completed rename and, with `before`, a line that begins with `?` for each rename that
is about to start. The line is written before the stall, so a test knows that the process stalls.
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

COMMAND = [sys.executable, __file__]


def journaled(rename: Callable[..., Any], journal: Path, manner: str) -> Callable[..., Any]:
    """Return `rename` with a journal, stalling as `manner` requires."""

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
