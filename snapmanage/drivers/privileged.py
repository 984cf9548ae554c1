"""What needs root, each an entry point of oslo.privsep that drivers call by `ask`; nothing else has root.

The process that asks is not trusted: every argument is checked on the privileged side, here or in what
is called from here, and what is reported and how is fixed there too. Whether there are two sides is
decided by `start`.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import ParamSpec, TypeVar

from oslo_privsep import capabilities, daemon, priv_context

from snapmanage import errors
from snapmanage.drivers import btrfs_folder, commands, lvm_messages, lvm_names, lvm_report, zfs_commands
from snapmanage.drivers.commands import Ended

P = ParamSpec("P")
T = TypeVar("T")

context = priv_context.PrivContext(
    "snapmanage",
    cfg_section="snapmanage_sys_admin",
    pypath=f"{__name__}.context",
    # What device-mapper, searching the trees of a btrfs and ZFS ask for; files and devices belong to root.
    capabilities=[capabilities.CAP_SYS_ADMIN],
)


GROUP_COLUMNS = ("vg_uuid", "pv_uuid")
LVM_ENVIRONMENT = {"LVM_SUPPRESS_FD_WARNINGS": "1"}


def start() -> None:
    """Run the entry points in this process where it is root, and otherwise in a daemon.

    The daemon starts at the first call, by `helper_command` in `[snapmanage_sys_admin]`. A main calls
    this once, before any driver is used.
    """
    context.set_client_mode(os.geteuid() != 0)


def ask(entrypoint: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call an entry point; `BackendPermission` where we can't be root, `BackendUnavailable` when the daemon is lost."""
    try:
        return entrypoint(*arguments, **named)
    except daemon.FailedToDropPrivileges as failure:
        raise errors.BackendPermission(
            f"can't become root for that ({failure}): allow helper_command of [snapmanage_sys_admin], in sudoers say"
        ) from failure
    except (OSError, daemon.ProtocolError) as failure:
        raise errors.BackendUnavailable(
            f"the privileged daemon went away ({failure}); it is started again"
        ) from failure


@context.entrypoint
def lvs(group: str, names: Sequence[str], system_dir: str, deadline_seconds: float, hidden: bool = False) -> Ended:
    """Report the group's volumes and snapshots; with `names` those of them that exist, internal ones too.

    With `hidden`, report everything, internal ones too. `InvalidReference` for a name that LVM doesn't have,
    `BackendUnavailable`.
    """
    for name in (group, *names):
        _refuse_illegal(name)
    report = ["--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o", ",".join(lvm_report.COLUMNS)]
    config = f"{lvm_messages.CONFIG} {lvm_report.CONFIG}"
    selection = ["--all"] if hidden else _selection(names)
    return _run(["lvs", "--config", config, *report, *selection, group], system_dir, deadline_seconds)


@context.entrypoint
def vgs(group: str, column: str, system_dir: str, deadline_seconds: float) -> Ended:
    """Print one of `GROUP_COLUMNS` of the group, a line each; `InvalidReference`, `BackendUnavailable`."""
    _refuse_illegal(group)
    if column not in GROUP_COLUMNS:
        raise errors.InvalidReference(f"{column!r} of a volume group is not for the privileged side to print")
    config = f"{lvm_messages.CONFIG} {lvm_report.CONFIG}"
    return _run(["vgs", "--config", config, "--noheadings", "-o", column, group], system_dir, deadline_seconds)


@context.entrypoint
def lvrename(group: str, old: str, new: str, system_dir: str, deadline_seconds: float) -> Ended:
    """Rename a logical volume; `InvalidReference` for a name that LVM doesn't give, `BackendUnavailable`."""
    for name in (group, old):
        _refuse_illegal(name)
    if reason := lvm_names.refusal(group, new):
        raise errors.InvalidReference(f"{new!r} can't be the name of a logical volume: {reason}")
    return _run(["lvrename", "--config", lvm_messages.CONFIG, group, old, new], system_dir, deadline_seconds)


@context.entrypoint
def subvolumes(folder: str, file_system: str, names: Sequence[str]) -> list[tuple[object, ...]]:
    """The fields of each `Member` of a folder on a btrfs; see `btrfs_folder.members`."""
    return [astuple(member) for member in btrfs_folder.members(folder, file_system, frozenset(names))]


@context.entrypoint
def folder_id(folder: str, file_system: str) -> str:
    """See `btrfs_folder.folder_id`."""
    return btrfs_folder.folder_id(folder, file_system)


@context.entrypoint
def located_subvolumes(
    folder: str, file_system: str, identities: Sequence[str], names: Sequence[str]
) -> list[tuple[str, str]]:
    """See `btrfs_folder.located`."""
    return btrfs_folder.located(folder, file_system, frozenset(identities), frozenset(names))


@context.entrypoint
def rename_subvolume(folder: str, file_system: str, old: str, new: str) -> None:
    """See `btrfs_folder.rename`."""
    btrfs_folder.rename(folder, file_system, old, new)


@context.entrypoint
def keep_names(folder: str, file_system: str, name: str) -> None:
    """See `btrfs_folder.keep`."""
    btrfs_folder.keep(folder, file_system, name)


@context.entrypoint
def zfs_get(names: Sequence[str], recursive: bool, deadline_seconds: float) -> Ended:
    """See `zfs_commands.get`."""
    return zfs_commands.get(names, recursive, deadline_seconds)


@context.entrypoint
def zfs_rename(old: str, new: str, deadline_seconds: float) -> Ended:
    """See `zfs_commands.rename`."""
    return zfs_commands.rename(old, new, deadline_seconds)


def _refuse_illegal(name: str) -> None:
    if not lvm_names.legal(name):
        raise errors.InvalidReference(f"LVM has nothing that could be called {name!r}")


def _selection(names: Sequence[str]) -> list[str]:
    # A selection that finds nothing succeeds, so absence needs no reading of messages. It costs what
    # `group/name` costs: either way lvm2 reads the whole group.
    return ["--all", "--select", " || ".join(f'lv_name="{name}"' for name in names)] if names else []


def _run(argv: Sequence[str], system_dir: str, deadline_seconds: float) -> Ended:
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
