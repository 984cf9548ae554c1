"""LVM: thick and thin snapshots in one volume group, through lvm2's own commands.

One `lvs` process lists a whole group, and lvm2 reads the whole group for a single name too. Judgements
rest on what `lvs` shows; messages only choose among errors when nothing can be seen.

**What may be managed.** A logical volume with the role `snapshot`. A thin snapshot whose origin was
removed has lost role and origin: it isn't listed, but is taken when a caller names it, its parent
unknown, provided it bears the mark that LVM gives to thin snapshots (skipped at activation, the `k` in
`lvs`). Without the mark nothing tells it from an ordinary volume, and ordinary volumes are refused; an
operator who knows better sets it: `lvchange --setactivationskip y GROUP/NAME`.

**Refusals.** What LVM wouldn't rename is listed as unusable, with the reason. See `report`.

**Volumes.** A thin snapshot can be one too: see `report.LogicalVolume.is_volume`.

**In use, invalid.** LVM tells these of active volumes only. An inactive snapshot can't be open on this
host; whether a thick one had overflowed shows when it is activated. In a group that hosts share, only
this host is seen.

**Late renames.** LVM renames by name only, so what `snapmanage.drivers.renaming` says of them holds here.
Nothing is ever removed.
"""

from collections.abc import Collection, Sequence
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.lvm import messages, privileged, report
from snapmanage.drivers.lvm import names as lvm_names
from snapmanage.drivers.lvm.report import LogicalVolume
from snapmanage.drivers.system import privsep
from snapmanage.drivers.system.commands import Ended


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

    def storage_id(self) -> str | None:
        [group] = self._of_group("vg_uuid")
        return f"lvm:{group}"

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
                f"{found.name!r} in volume group {self._group!r} is no volume, but a snapshot that "
                "is not writable and active and has no snapshots of its own, or a part of LVM's own"
            )
        return found.volume()

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        every = [BackendObject(line.name, line.identity) for line in self._report(hidden=True)]
        return [each for each in every if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        wanted = f"_{name}" if lvm_names.begins_reserved(name) else name
        if reason := lvm_names.refusal(self._group, wanted):
            raise errors.ConfigurationError(f"{wanted!r} can't be a name: {reason}; change snapshot_name_template")
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        return {line.name: line.snapshot() for line in self._report(*names)}

    def rename(self, old: str, new: str) -> None:
        ended = privsep.ask(privileged.lvrename, self._group, old, new, *self._surroundings)
        messages.refuse_failure(f"renaming {old!r} to {new!r} in volume group {self._group!r}", ended)
        if reason := messages.rigidity(ended[2]):
            raise errors.Unusable(f"{old!r} wasn't renamed: {reason}")

    def _find(self, reference: Reference) -> LogicalVolume:
        name = reference.name()
        if not lvm_names.legal(name):
            raise errors.InvalidReference(f"no logical volume can be called {name!r}")
        for line in self._report(name):
            return line
        if lvm_names.begins_reserved(name):
            raise errors.InvalidReference(f"no logical volume can be called {name!r}")
        raise errors.SourceNotFound(f"volume group {self._group!r} has no logical volume {name!r}")

    def _report(self, *names: str, hidden: bool = False) -> list[LogicalVolume]:
        """Every visible volume and snapshot, or the hidden ones too; with names, whichever of them exists."""
        ended = privsep.ask(privileged.lvs, self._group, names, *self._surroundings, hidden)
        messages.refuse_failure(f"listing volume group {self._group!r}", ended)
        _, output, error = ended
        return report.read(output, self._group, messages.rigidity(error) or self._doubled(error))

    def _doubled(self, warnings: str) -> str | None:
        """Return why LVM renames nothing, where it warns that it sees one of the group's disks twice."""
        doubled = messages.doubled(warnings)
        if not doubled:
            return None
        return messages.DOUBLED if doubled & frozenset(self._of_group("pv_uuid")) else None

    def _of_group(self, column: str) -> list[str]:
        """Return what `vgs` reports of the group in one column, which holds no spaces."""
        ended: Ended = privsep.ask(privileged.vgs, self._group, column, *self._surroundings)
        messages.refuse_failure(f"looking at volume group {self._group!r}", ended)
        return ended[1].split()
