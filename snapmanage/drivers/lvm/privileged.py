"""What needs root in LVM: lvm2's commands, with their arguments checked."""

import stat
from collections.abc import Sequence
from pathlib import Path

from snapmanage import errors
from snapmanage.drivers.lvm import messages, report
from snapmanage.drivers.lvm import names as lvm_names
from snapmanage.drivers.system import commands, privsep
from snapmanage.drivers.system.commands import CompletedCommand

GROUP_COLUMNS = ("vg_uuid", "pv_uuid")
LVM_ENVIRONMENT = {"LVM_SUPPRESS_FD_WARNINGS": "1"}


@privsep.context.entrypoint
def lvs(
    group: str, names: Sequence[str], system_dir: str, deadline_seconds: float, hidden: bool = False
) -> CompletedCommand:
    """Report the group's volumes and snapshots; with `names` those of them that exist, internal ones too.

    With `hidden`, report everything, internal ones too. `InvalidReference` for a name that LVM doesn't have,
    `BackendUnavailable`.
    """
    for name in (group, *names):
        _refuse_illegal(name)
    columns = ["--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o", ",".join(report.COLUMNS)]
    config = f"{messages.CONFIG} {report.CONFIG}"
    selection = ["--all"] if hidden else _selection(names)
    return _run(["lvs", "--config", config, *columns, *selection, group], system_dir, deadline_seconds)


@privsep.context.entrypoint
def vgs(group: str, column: str, system_dir: str, deadline_seconds: float) -> CompletedCommand:
    """Print one of `GROUP_COLUMNS` of the group, a line each; `InvalidReference`, `BackendUnavailable`."""
    _refuse_illegal(group)
    if column not in GROUP_COLUMNS:
        raise errors.InvalidReference(f"{column!r} of a volume group is not for the privileged side to print")
    config = f"{messages.CONFIG} {report.CONFIG}"
    return _run(["vgs", "--config", config, "--noheadings", "-o", column, group], system_dir, deadline_seconds)


@privsep.context.entrypoint
def lvrename(group: str, old: str, new: str, system_dir: str, deadline_seconds: float) -> CompletedCommand:
    """Rename a logical volume; `InvalidReference` for a name that LVM doesn't give, `BackendUnavailable`."""
    for name in (group, old):
        _refuse_illegal(name)
    if reason := lvm_names.refusal(group, new):
        raise errors.InvalidReference(f"{new!r} can't be the name of a logical volume: {reason}")
    return _run(["lvrename", "--config", messages.CONFIG, group, old, new], system_dir, deadline_seconds)


def _refuse_illegal(name: str) -> None:
    if not lvm_names.legal(name):
        raise errors.InvalidReference(f"LVM has nothing that could be called {name!r}")


def _selection(names: Sequence[str]) -> list[str]:
    # A selection that finds nothing succeeds, so absence needs no reading of messages. It costs what
    # `group/name` costs: either way lvm2 reads the whole group.
    return ["--all", "--select", " || ".join(f'lv_name="{name}"' for name in names)] if names else []


def _run(argv: Sequence[str], system_dir: str, deadline_seconds: float) -> CompletedCommand:
    more = {"LVM_SYSTEM_DIR": _trusted(system_dir)} if system_dir else {}
    return commands.run(argv, "lvm2", deadline_seconds, LVM_ENVIRONMENT | more)


def _trusted(system_dir: str) -> str:
    """Refuse a folder whose lvm.conf somebody but root could write: it may name programs to be run."""
    folder = Path(system_dir)
    chain = [folder, *folder.parents]
    if not folder.is_absolute() or folder.resolve() != folder or not all(map(_only_roots, chain)):
        raise errors.ConfigurationError(
            f"lvm_system_dir {system_dir!r} must be an absolute path without symbolic links, to a folder that "
            "only root can change"
        )
    return system_dir


def _only_roots(folder: Path) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return False
    writable_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == 0 and (not writable_by_others or bool(found.st_mode & stat.S_ISVTX))
