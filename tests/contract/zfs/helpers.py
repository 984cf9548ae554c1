"""Bindings of snapshots of ZFS, and a replaced `zfs`."""

import uuid
from pathlib import Path

import pytest

from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.system import commands
from tests.contract.labs.zfs import ZfsLab


def bind(lab: ZfsLab, name: str) -> Binding:
    found = lab.driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def new_binding(lab: ZfsLab, word: str = "daily") -> Binding:
    """Make a snapshot and return the binding to manage it."""
    lab.add_snapshot(lab.name_of(word))
    return bind(lab, lab.name_of(word))


def replace_zfs(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, error: str, code: int) -> None:
    """Replace `zfs` by a script that always prints `output` and `error`, and exits with `code`."""
    (folder / "output").write_text(output)
    command = folder / "zfs"
    command.write_text(f"""#!/bin/sh\ncat {folder}/output\necho "{error}" >&2\nexit {code}\n""")
    command.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{folder}:/bin")
