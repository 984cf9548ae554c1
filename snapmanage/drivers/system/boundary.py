"""The groups, folders and datasets that the privileged entry points may touch.

A service that runs as root has no boundary: its own configuration names its backends. The helper of a service without
root trusts that service with nothing but the entries of a list, which only root can write. Each entry point checks its
arguments with `current`, so a process that chose no boundary is refused everything, such as a bare `privsep-helper`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from oslo_config import cfg

from snapmanage import errors
from snapmanage.drivers.system import trusted

LIST = Path("/etc/snapmanage/privileged.conf")
SECTION = "allowed"
VOLUME_GROUP, LVM_SYSTEM_DIR, BTRFS_FOLDER, ZFS_DATASET = KINDS = (
    *("volume_group", "lvm_system_dir", "btrfs_folder", "zfs_dataset"),
)


class Boundary(Protocol):
    """Decides about names; `kind` is one of `KINDS`."""

    def require(self, kind: str, *names: str) -> None:
        """Raise `BackendPermission` unless one of the names is allowed."""

    def require_pool(self, pool: str) -> None:
        """Raise `BackendPermission` unless a dataset of the pool is allowed."""

    def open_folder(self, path: str) -> int:
        """Open a folder on a btrfs; raise `BackendPermission` or `OSError`."""


class Everything:
    """The boundary of a service that runs as root."""

    def require(self, kind: str, *names: str) -> None:
        pass

    def require_pool(self, pool: str) -> None:
        pass

    def open_folder(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class Listed:
    """The entries of a list; each check reads it anew, so that a change has effect at once."""

    def __init__(self, path: Path = LIST) -> None:
        self._path = path

    def require(self, kind: str, *names: str) -> None:
        if self.read()[kind].isdisjoint(names):
            raise self._refusal(kind, names[-1])

    def require_pool(self, pool: str) -> None:
        if pool not in {name.partition("/")[0] for name in self.read()[ZFS_DATASET]}:
            raise self._refusal(ZFS_DATASET, pool)

    def open_folder(self, path: str) -> int:
        self.require(BTRFS_FOLDER, path)
        return trusted.open_folder(path)

    def read(self) -> Mapping[str, frozenset[str]]:
        """Return the allowed names of each kind; raise `BackendPermission` if the list can't be read or trusted."""
        if not self._path.exists():
            raise errors.BackendPermission(
                f"the list {self._path} is missing: write it as root, see docs/how-to/privileges.md"
            )
        if not trusted.is_root_only(self._path):
            raise errors.BackendPermission(
                f"{self._path} and every folder above it must belong to root, be writable by root only, and be no "
                "symbolic link: use chown and chmod"
            )
        sections: dict[str, dict[str, list[str]]] = {}
        try:
            cfg.ConfigParser(str(self._path), sections).parse()
        except (OSError, ValueError, cfg.ParseError) as failure:
            raise errors.BackendPermission(f"{self._path} can't be read: {failure}") from failure
        found = sections.pop(SECTION, {})
        if unknown := [*sections, *(found.keys() - set(KINDS))]:
            raise errors.BackendPermission(
                f"{self._path} has {unknown[0]!r}: it has one section [{SECTION}], with lines of {', '.join(KINDS)}"
            )
        return {kind: frozenset(found.get(kind, ())) - {""} for kind in KINDS}

    def _refusal(self, kind: str, name: str) -> errors.BackendPermission:
        return errors.BackendPermission(
            f"{self._path} doesn't allow {kind} {name!r}: to allow it, add the line '{kind} = {name}' to its section "
            f"[{SECTION}] as root"
        )


class Nothing:
    """The boundary of a process that chose none."""

    def require(self, kind: str, *names: str) -> None:
        raise self._refusal()

    def require_pool(self, pool: str) -> None:
        raise self._refusal()

    def open_folder(self, path: str) -> int:
        raise self._refusal()

    def _refusal(self) -> errors.BackendPermission:
        return errors.BackendPermission(
            "this helper has no list of allowed names: let helper_command of [snapmanage_sys_admin] start "
            "snapmanage-privileged"
        )


_current: Boundary = Nothing()


def current() -> Boundary:
    return _current


def use(boundary: Boundary) -> None:
    """Choose the boundary of this process."""
    global _current
    _current = boundary
