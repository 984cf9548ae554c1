"""Programs and rights that a test needs: if one is missing, the test is skipped, and in CI fails.

`CI=true` means that all packages of `bindep.txt` are expected, and that the tests run as root.
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
    """Return the path of a program, also of one in the system's administrative folders; None if it is missing."""
    return shutil.which(name, path=SYSTEM_PATH)


def require(*programs: str, root: bool = False) -> None:
    """Skip the test (fail it in CI) unless all programs are installed and, with `root`, the tests run as root."""
    missing = [name for name in programs if program(name) is None]
    if root and os.geteuid() != 0:
        missing.append("root")
    if missing:
        lacking(", ".join(missing))


def lacking(missing: str) -> None:
    """Skip the test because of missing programs or rights; fail it in CI."""
    reason = f"this machine lacks: {missing} (see bindep.txt)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
