"""Entry points of LVM that run as root: commands of lvm2, with checked arguments."""

from collections.abc import Sequence
from pathlib import Path

from snapmanage import errors
from snapmanage.drivers.lvm import messages, report
from snapmanage.drivers.lvm.names import is_valid_name, refusal
from snapmanage.drivers.system import boundary, commands, privsep, trusted
from snapmanage.drivers.system.commands import CompletedCommand

GROUP_COLUMNS = ("vg_uuid", "pv_uuid")
# The files of lvm_system_dir that lvm2 reads settings from; the others are backups.
_SETTINGS = ("lvm*.conf", "profile/*")
# Up to this many names are selected by lvm2. With more, its comparisons take longer than to report everything.
MOST_SELECTED = 100
LVM_ENVIRONMENT = {"LVM_SUPPRESS_FD_WARNINGS": "1"}


@privsep.context.entrypoint
def lvs(
    group: str, names: Sequence[str], system_dir: str, deadline_seconds: float, hidden: bool = False
) -> CompletedCommand:
    """Report the group's visible volumes and snapshots.

    With `names`, report at least those of them that exist, also internal ones. With `hidden`, report everything.
    Raise `InvalidReference` for a name that LVM can't have, and `BackendUnavailable`.
    """
    _require(group, *names)
    columns = ["--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o", ",".join(report.COLUMNS)]
    config = f"{messages.CONFIG} {report.CONFIG}"
    # A selection that finds nothing succeeds, so no message has to be read to detect absence. It costs as much as
    # `group/name`: in both cases lvm2 reads the whole group.
    selected = names if not hidden and len(names) <= MOST_SELECTED else ()
    by_name = ["--select", " || ".join(f'lv_name="{name}"' for name in selected)] if selected else []
    selection = ["--all", *by_name] if hidden or names else []
    return _run(["lvs", "--config", config, *columns, *selection, group], group, system_dir, deadline_seconds)


@privsep.context.entrypoint
def vgs(group: str, column: str, system_dir: str, deadline_seconds: float) -> CompletedCommand:
    """Print one of `GROUP_COLUMNS` of the group; raise `InvalidReference` for any other, or `BackendUnavailable`."""
    _require(group)
    if column not in GROUP_COLUMNS:
        raise errors.InvalidReference(f"the column {column!r} of a volume group isn't one of {GROUP_COLUMNS}")
    config = f"{messages.CONFIG} {report.CONFIG}"
    return _run(["vgs", "--config", config, "--noheadings", "-o", column, group], group, system_dir, deadline_seconds)


@privsep.context.entrypoint
def lvrename(group: str, old: str, new: str, system_dir: str, deadline_seconds: float) -> CompletedCommand:
    """Rename a logical volume; raise `InvalidReference` for a name that LVM can't give, or `BackendUnavailable`."""
    _require(group, old)
    if reason := refusal(group, new):
        raise errors.InvalidReference(f"{new!r} can't be the name of a logical volume: {reason}")
    return _run(["lvrename", "--config", messages.CONFIG, group, old, new], group, system_dir, deadline_seconds)


def _require(group: str, *names: str) -> None:
    """Raise `InvalidReference` for a name that LVM can't have, and `BackendPermission` for a group out of bounds."""
    for name in (group, *names):
        if not is_valid_name(name):
            raise errors.InvalidReference(f"LVM can't have a volume group or logical volume named {name!r}")
    boundary.current().require(boundary.VOLUME_GROUP, group)


def _run(argv: Sequence[str], group: str, system_dir: str, deadline_seconds: float) -> CompletedCommand:
    folder = {"LVM_SYSTEM_DIR": _trusted(system_dir)} if system_dir else {}
    return commands.run(argv, "lvm2", deadline_seconds, LVM_ENVIRONMENT | folder, storage=group)


def _trusted(system_dir: str) -> str:
    """Return the folder; refuse one that another user than root can change.

    Its lvm.conf may name programs, which lvm2 would run as root.
    """
    boundary.current().require(boundary.LVM_SYSTEM_DIR, system_dir)
    folder = Path(system_dir)
    if not trusted.is_root_only(folder):
        raise errors.ConfigurationError(
            f"lvm_system_dir {system_dir!r} must be an absolute path without symbolic links, to a folder that "
            "only root can change"
        )
    for path in (folder / "profile", *(path for pattern in _SETTINGS for path in folder.glob(pattern))):
        if path.exists() and not trusted.is_root_only_behind_links(path):
            raise errors.ConfigurationError(
                f"other users than root can change {str(path)!r} in lvm_system_dir, or a folder or symbolic link on "
                "the way to it: use chown and chmod"
            )
    return system_dir
