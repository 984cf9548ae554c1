"""LVM: thick and thin snapshots in one volume group, through lvm2's own commands.

One `lvs` process lists a whole group, and lvm2 reads the whole group for a single name too. Judgements
rest on what `lvs` shows; messages only choose among errors when nothing can be seen.

**What may be managed.** A logical volume with the role `snapshot`. A thin snapshot whose origin was
removed has lost role and origin: it isn't listed, but is taken when a caller names it, its parent
unknown, provided it bears the mark that LVM gives to thin snapshots (skipped at activation, the `k` in
`lvs`). Without the mark nothing tells it from an ordinary volume, and ordinary volumes are refused; an
operator who knows better sets it: `lvchange --setactivationskip y GROUP/NAME`.

**In use, invalid.** LVM tells these of active volumes only. An inactive snapshot can't be open on this
host; whether a thick one had overflowed shows when it is activated. In a group that hosts share, only
this host is seen.

**Late renames.** LVM renames by name only, so what `snapmanage.drivers.renaming` says of them holds here.
Nothing is ever removed.
"""

import re
from collections.abc import Collection, Sequence
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import lvm_names, lvm_report, privileged, renaming
from snapmanage.drivers.lvm_report import LogicalVolume

# What stderr may add to an exit code, most telling first.
_MEANINGS: Sequence[tuple[str, type[errors.SnapmanageError], str]] = (
    (r"Permission denied", errors.BackendPermission, "let snapmanage run lvm2 as root"),
    (r"Can't get lock", errors.BackendBusy, "another command holds the group's lock"),
    (r"Volume group .* not found", errors.BackendUnavailable, "see whether its physical volumes are attached"),
    (r"already exists in volume group", errors.NameTaken, "rename the other one"),
    (r"Existing logical volume .* not found", errors.SourceNotFound, "list the backend again"),
)


class LvmDriver:
    """Snapshots in one volume group; see the module for what may be managed and what a late rename does."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("volume_group", help="The volume group whose snapshots can be managed, required."),
        cfg.StrOpt(
            "lvm_system_dir",
            default="",
            help="The folder of lvm.conf, exported as LVM_SYSTEM_DIR; only root may be able to change it. "
            "Empty means the system's own, usually /etc/lvm.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="How long one command may take, waiting for the group's lock included. Raise it where other "
            "commands hold the lock for long: requests then wait instead of being tried again later. "
            "Lower it to learn of a hanging backend sooner.",
        ),
    ]

    def __init__(
        self, volume_group: str | None = None, lvm_system_dir: str = "", command_timeout_seconds: float = 60
    ) -> None:
        self._group = volume_group or ""
        self._surroundings = (lvm_system_dir, command_timeout_seconds)

    def check(self) -> None:
        if not lvm_names.legal(self._group):
            raise errors.ConfigurationError(f"volume_group is {self._group!r}: set it to the name of a volume group")
        self._report()

    def list_snapshots(self) -> list[BackendSnapshot]:
        return [line.snapshot() for line in self._report() if line.is_snapshot]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        found = self._find(reference)
        if found.is_snapshot or found.is_orphan:
            return found.snapshot()
        raise errors.NotASnapshot(
            f"{found.name!r} in volume group {self._group!r} is no snapshot; if it is a thin snapshot whose origin "
            f"was removed, say so with: lvchange --setactivationskip y {self._group}/{found.name}"
        )

    def find_volume(self, reference: Reference) -> BackendVolume:
        found = self._find(reference)
        if not found.is_volume:
            raise errors.NotAVolume(
                f"{found.name!r} in volume group {self._group!r} is no volume, but a snapshot or a part of LVM's own"
            )
        return found.volume()

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        every = [BackendObject(line.name, line.identity) for line in self._report(hidden=True)]
        return [each for each in every if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"_{name}" if lvm_names.begins_reserved(name) else name
        if reason := lvm_names.refusal(self._group, wanted):
            raise errors.ConfigurationError(f"{wanted!r} can't be a name: {reason}; change snapshot_name_template")
        if reason := lvm_names.refusal(self._group, found.name):
            raise errors.InvalidReference(f"{found.name!r} couldn't be given back: {reason}; rename it first")
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        return {line.name: line.snapshot() for line in self._report(*names)}

    def rename(self, old: str, new: str) -> None:
        code, _, error = privileged.ask(privileged.lvrename, self._group, old, new, *self._surroundings)
        if code != 0:
            raise _failure(f"renaming {old!r} to {new!r} in volume group {self._group!r}", code, error)

    def _find(self, reference: Reference) -> LogicalVolume:
        name = reference.name()
        if not lvm_names.legal(name) or lvm_names.begins_reserved(name):
            raise errors.InvalidReference(f"no logical volume can be called {name!r}")
        for line in self._report(name):
            return line
        raise errors.SourceNotFound(f"volume group {self._group!r} has no logical volume {name!r}")

    def _report(self, *names: str, hidden: bool = False) -> list[LogicalVolume]:
        """Every visible volume and snapshot, or the hidden ones too; with names, whichever of them exists."""
        code, output, error = privileged.ask(privileged.lvs, self._group, names, *self._surroundings, hidden)
        if code != 0:
            raise _failure(f"listing volume group {self._group!r}", code, error)
        return lvm_report.read(output)


def _failure(doing: str, code: int, error: str) -> errors.SnapmanageError:
    """What went wrong in a command that failed, as far as it can be told."""
    said = " ".join(error.split())
    for text, kind, remedy in _MEANINGS:
        if re.search(text, error):
            return kind(f"{doing} failed: {remedy} (lvm2 says: {said})")
    if code < 0:
        return errors.BackendUnavailable(f"{doing} was ended at its deadline (signal {-code}): {said}")
    return errors.BackendError(f"{doing} failed with exit code {code}: {said}")
