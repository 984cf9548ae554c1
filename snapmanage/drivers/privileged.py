"""The commands that need root, each an entry point of oslo.privsep; nothing else of snapmanage has root.

The process that asks is not trusted: every argument is checked here, on the privileged side, and what
a command reports and how is fixed here too. Whether there are two sides is decided by `start`.
"""

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from oslo_privsep import capabilities, priv_context

from snapmanage import errors
from snapmanage.drivers import lvm_names, lvm_report

ENVIRONMENT = {"LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
GRACE_SECONDS = 10

# Exit code, standard output, standard error.
Ended = tuple[int, str, str]

context = priv_context.PrivContext(
    "snapmanage",
    cfg_section="snapmanage_sys_admin",
    pypath=f"{__name__}.context",
    # What device-mapper asks for; the files and devices that lvm2 opens belong to root.
    capabilities=[capabilities.CAP_SYS_ADMIN],
)


def start() -> None:
    """Run the entry points in this process where it is root, and otherwise in a daemon.

    The daemon starts at the first call, by `helper_command` in `[snapmanage_sys_admin]`. A main calls
    this once, before any driver is used.
    """
    context.set_client_mode(os.geteuid() != 0)


@context.entrypoint
def lvs(group: str, names: Sequence[str], system_dir: str, deadline_seconds: float) -> Ended:
    """Report the group's volumes and snapshots; with `names` those of them that exist, internal ones too.

    `InvalidReference` for a name that LVM doesn't have, `BackendUnavailable`.
    """
    for name in (group, *names):
        _refuse_illegal(name)
    report = ["--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o", ",".join(lvm_report.COLUMNS)]
    return _run(
        ["lvs", "--config", lvm_report.CONFIG, *report, *_selection(names), group], system_dir, deadline_seconds
    )


@context.entrypoint
def lvrename(group: str, old: str, new: str, system_dir: str, deadline_seconds: float) -> Ended:
    """Rename a logical volume; `InvalidReference` for a name that LVM doesn't give, `BackendUnavailable`."""
    for name in (group, old):
        _refuse_illegal(name)
    if reason := lvm_names.refusal(group, new):
        raise errors.InvalidReference(f"{new!r} can't be the name of a logical volume: {reason}")
    return _run(["lvrename", group, old, new], system_dir, deadline_seconds)


def _refuse_illegal(name: str) -> None:
    if not lvm_names.legal(name):
        raise errors.InvalidReference(f"LVM has nothing that could be called {name!r}")


def _selection(names: Sequence[str]) -> list[str]:
    # A selection that finds nothing succeeds, so absence needs no reading of messages. It costs what
    # `group/name` costs: either way lvm2 reads the whole group.
    return ["--all", "--select", " || ".join(f'lv_name="{name}"' for name in names)] if names else []


def _run(argv: Sequence[str], system_dir: str, deadline_seconds: float) -> Ended:
    environment = ENVIRONMENT | {"LVM_SYSTEM_DIR": _trusted(system_dir)} if system_dir else ENVIRONMENT
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as failure:
        raise errors.BackendUnavailable(f"can't run {argv[0]} ({failure.strerror}): is lvm2 installed?") from failure
    output, error = _communicate(process, argv[0], deadline_seconds)
    return process.returncode, output, error


def _communicate(process: subprocess.Popen[str], command: str, deadline_seconds: float) -> tuple[str, str]:
    try:
        return process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    # lvm2 heeds SIGTERM while it waits for a lock, and holds it back while devices are suspended.
    # SIGKILL then would freeze everybody's I/O on them, so a command that won't end is left alone.
    try:
        return process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise errors.BackendUnavailable(
            f"{command} didn't end within {deadline_seconds:g} s, nor when asked to: look for a device that hangs"
        ) from None


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
