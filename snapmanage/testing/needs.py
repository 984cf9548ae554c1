"""What a test needs of the machine: it skips by name where that is missing, and fails in CI.

`CI=true` says that everything in `bindep.txt` is expected to be there and that we are root.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Sort folders of the form VERSION/bin, the highest version first; a version is one number."""
    numbered = {int(folder.parent.name): folder for folder in folders if folder.parent.name.isdecimal()}
    return [numbered[version] for version in sorted(numbered, reverse=True)]


# Debian keeps the programs of a PostgreSQL server in a folder of their version.
_POSTGRESQL = newest_first(Path("/usr/lib/postgresql").glob("*/bin"))
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, _POSTGRESQL)])


def program(name: str) -> str | None:
    """Where a program is, looking into the system's administrative folders too."""
    return shutil.which(name, path=SYSTEM_PATH)


def require(*programs: str, root: bool = False) -> None:
    """Skip the test (fail it in CI) unless all the programs are installed and, if asked, we are root."""
    missing = [name for name in programs if program(name) is None]
    if root and os.geteuid() != 0:
        missing.append("root")
    if missing:
        lacking(", ".join(missing))


def lacking(what: str) -> None:
    """Skip the test because `what` is missing; fail it in CI."""
    reason = f"this machine lacks: {what} (see bindep.txt)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
