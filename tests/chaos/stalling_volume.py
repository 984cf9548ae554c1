"""snapmanage-volume with a journal of its renames, which can stall between a rename and the driver's answer.

Arguments: the journal's path, `stall` or `go`, then those of snapmanage-volume. Each rename that was
done is a line in the journal, written before the stall, so that a test knows when to kill.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snapmanage.cmd import volume
from snapmanage.drivers import linux, privileged


def journaled(rename: Callable[..., Any], journal: Path, stall: bool) -> Callable[..., Any]:
    """The same rename, written down when it was done."""

    def renamed(*arguments: Any) -> Any:
        answer = rename(*arguments)
        with journal.open("a") as file:
            file.write(f"{arguments[1]} -> {arguments[2]}\n")
            file.flush()
            os.fsync(file.fileno())
        if stall:
            threading.Event().wait()
        return answer

    return renamed


if __name__ == "__main__":
    journal, stall = Path(sys.argv[1]), sys.argv[2] == "stall"
    del sys.argv[1:3]
    linux.rename_noreplace = journaled(linux.rename_noreplace, journal, stall)
    privileged.lvrename = journaled(privileged.lvrename, journal, stall)  # type: ignore[assignment]
    sys.exit(volume.main())
