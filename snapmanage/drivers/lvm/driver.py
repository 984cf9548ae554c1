"""LVM: thick and thin snapshots of one volume group.

The driver runs commands of lvm2. One `lvs` lists a whole group. lvm2 reads the whole group even for a single name, and
the time for this grows with the square of its thin snapshots. So one report finds a batch of objects, and one report
before and one after its renames serve the batch. A report shows the state of the group, and whether a rename was done.
Messages of lvm2 only choose the error or the reason that snapmanage reports; see `messages`.

**Snapshots.** A snapshot is a logical volume with the role `snapshot`. A thin snapshot whose origin was removed has
lost this role and its origin. It isn't listed. A request can still manage it by its name, with an unknown volume, if it
has the mark of thin snapshots: it is skipped at activation, the `k` in `lvs`. Without the mark it can't be
distinguished from an ordinary volume and is refused. An operator can set the mark:
`lvchange --setactivationskip y GROUP/NAME`.

**Volumes.** The other visible logical volumes are volumes. A thin snapshot can also be a volume, see
`report.LogicalVolume.is_volume`. A list of volumes has only those thin snapshots that have snapshots of their own.

**Names.** A name is that of a logical volume. LVM reserves some; a managed name that begins like a reserved one gets
an underscore in front.

**Identity.** A logical volume is identified by LVM's UUID.

**Sizes.** A thin snapshot has its own virtual size, a thick snapshot that of its origin.

**Refusals.** A snapshot that LVM would not rename is listed as unusable, with the reason; see `report`.

**In use.** LVM reports open devices and overflowed snapshots for active logical volumes only. An inactive snapshot
can't be open on this host; an overflow of an inactive thick snapshot shows when it is activated. In a group that
hosts share, the driver sees this host only.

**Renames.** LVM renames by name only, and has one lock for the group, so the renames of a batch run one after the
other. The driver never removes an object.

**Identity before a rename.** Right before each rename the driver compares the UUID of the name in its last report. It
reads another report if that one is too old: 2 seconds, or 40 times the duration of the report if that is more; see
`renamer`. lvm2 has nothing cheaper: it renames no UUID, it reads the whole group for any question, and its lock can't
be held around its own commands. An object that gets the old name within this window is renamed too. The report after
the batch shows its UUID, and the driver restores its name. The data of no object change.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues. A
batch doesn't add to this: `lvrename` gets one name at a time, so no command has the rest of a batch when a worker dies.
"""

from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, TypeVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.batch import Asked, raise_or_return, try_one
from snapmanage.drivers.lvm import messages, privileged, report
from snapmanage.drivers.lvm.names import begins_reserved, is_valid_name, refusal
from snapmanage.drivers.lvm.renamer import GroupRenamer
from snapmanage.drivers.lvm.report import LogicalVolume
from snapmanage.drivers.system import privsep
from snapmanage.drivers.system.commands import CompletedCommand

T = TypeVar("T")
Named = dict[str, LogicalVolume | errors.SnapmanageError]


class LvmDriver:
    """Snapshots of one volume group; the module's docstring describes snapshots, refusals and late renames."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("volume_group", help="The volume group whose snapshots can be managed. Required."),
        cfg.StrOpt(
            "lvm_system_dir",
            default="",
            help="The folder of lvm.conf, exported as LVM_SYSTEM_DIR; only root must have the right to change it. "
            "Empty means the system's own, usually /etc/lvm.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="Longest duration of one command, including the wait for the group's lock. Raise it where other "
            "commands hold the lock for long: requests then wait instead of being retried later. "
            "Lower it to detect a hanging backend sooner.",
        ),
    ]

    # A group has one lock.
    batch_calls: ClassVar[int] = 1

    def __init__(
        self, volume_group: str | None = None, lvm_system_dir: str = "", command_timeout_seconds: float = 60
    ) -> None:
        self._group = volume_group or ""
        self._settings = (lvm_system_dir, command_timeout_seconds)

    def check(self) -> None:
        if not is_valid_name(self._group):
            raise errors.ConfigurationError(f"volume_group is {self._group!r}: set it to the name of a volume group")
        self._report()

    def storage_id(self) -> str | None:
        [group] = self._group_values("vg_uuid")
        return f"lvm:{group}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        return [found.snapshot() for found in self._report() if found.is_snapshot]

    def list_volumes(self) -> list[BackendVolume]:
        return [found.volume() for found in self._report() if found.is_listed_volume]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        [found] = self.find_snapshots([Asked(reference, volume)])
        return raise_or_return(found)

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._find([each.reference for each in asked], self._snapshot)

    def find_volume(self, reference: Reference) -> BackendVolume:
        [found] = self.find_volumes([reference])
        return raise_or_return(found)

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        return self._find(references, self._volume)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        objects = [BackendObject(found.name, found.identity) for found in self._report(hidden=True)]
        return [each for each in objects if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        managed = f"_{name}" if begins_reserved(name) else name
        if reason := refusal(self._group, managed):
            raise errors.ConfigurationError(f"{managed!r} can't be a name: {reason}; change snapshot_name_template")
        return managed

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        [managed] = self.manage_snapshots([binding])
        return raise_or_return(managed)

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return renaming.manage_many(self._renamer(), bindings)

    def unmanage_snapshot(self, binding: Binding) -> None:
        [failure] = self.unmanage_snapshots([binding])
        raise_or_return(failure)

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        results = renaming.unmanage_many(self._renamer(), bindings)
        return [each if isinstance(each, errors.SnapmanageError) else None for each in results]

    def look(self, *names: str) -> dict[str, BackendSnapshot | errors.SnapmanageError]:
        """Return the object of each name that has one, from one report; an illegal name has an error."""
        found = self._named(names)
        return {name: each.snapshot() if isinstance(each, LogicalVolume) else each for name, each in found.items()}

    def rename(self, old: str, new: str) -> None:
        action = f"renaming {old!r} to {new!r} in volume group {self._group!r}"
        completed = self._run(action, privileged.lvrename, old, new, *self._settings)
        if reason := messages.group_refusal(completed.error):
            raise errors.Unusable(f"{old!r} wasn't renamed: {reason}")

    def _renamer(self) -> GroupRenamer:
        return GroupRenamer(self.look, self.rename, self._settings[1])

    def _find(
        self, references: Sequence[Reference], described: Callable[[LogicalVolume], T]
    ) -> list[T | errors.SnapmanageError]:
        """Return the description of each reference's logical volume, from one report, or the error of the reference."""
        names = [try_one(Reference.name, each) for each in references]
        found = self._named([each for each in names if isinstance(each, str)])
        return [try_one(self._described, each, found, described) for each in names]

    def _described(
        self, name: str | errors.SnapmanageError, found: Named, described: Callable[[LogicalVolume], T]
    ) -> T:
        name = raise_or_return(name)
        if name in found:
            return described(raise_or_return(found[name]))
        if begins_reserved(name):
            raise _illegal(name, ": it reserves such names")
        raise errors.SourceNotFound(f"volume group {self._group!r} has no logical volume {name!r}")

    def _snapshot(self, found: LogicalVolume) -> BackendSnapshot:
        if found.is_snapshot or found.is_orphan:
            return found.snapshot()
        raise errors.NotASnapshot(
            f"{found.name!r} in volume group {self._group!r} is not a snapshot; if it is a thin snapshot whose origin "
            f"was removed, mark it as one: lvchange --setactivationskip y {self._group}/{found.name}"
        )

    def _volume(self, found: LogicalVolume) -> BackendVolume:
        if found.is_volume:
            return found.volume()
        raise errors.NotAVolume(
            f"{found.name!r} in volume group {self._group!r} is not a volume: it is an internal part of LVM, or a "
            "snapshot that neither has snapshots of its own nor is both active and writable; name its volume"
        )

    def _named(self, names: Collection[str]) -> Named:
        """Return the logical volumes that have the names, also internal ones, from one report.

        An illegal name has an error, and never becomes an argument.
        """
        legal = list(dict.fromkeys(filter(is_valid_name, names)))
        illegal: Named = {name: _illegal(name) for name in names if not is_valid_name(name)}
        if not legal:
            return illegal
        output, group_refusal = self._lvs(legal)
        return illegal | report.read_named(output, self._group, group_refusal, frozenset(legal))

    def _report(self, hidden: bool = False) -> list[LogicalVolume]:
        """Return the visible logical volumes; with `hidden`, all."""
        output, group_refusal = self._lvs(hidden=hidden)
        return report.read(output, self._group, group_refusal)

    def _lvs(self, names: Sequence[str] = (), hidden: bool = False) -> tuple[str, str | None]:
        """Return the report of `lvs`, and the reason why LVM renames nothing in the group."""
        action = f"listing volume group {self._group!r}"
        completed = self._run(action, privileged.lvs, names, *self._settings, hidden)
        group_refusal = messages.group_refusal(completed.error)
        duplicates = messages.duplicate_volumes(completed.error)
        # The disks that LVM sees twice may belong to other groups.
        if duplicates and duplicates & frozenset(self._group_values("pv_uuid")):
            group_refusal = messages.DUPLICATE
        return completed.output, group_refusal

    def _group_values(self, column: str) -> list[str]:
        """Return the values of one column of `vgs` for the group; they have no spaces."""
        action = f"reading volume group {self._group!r}"
        return self._run(action, privileged.vgs, column, *self._settings).output.split()

    def _run(self, action: str, entrypoint: Callable[..., CompletedCommand], *arguments: object) -> CompletedCommand:
        """Run a command on the group; raise the error of one that failed."""
        completed = CompletedCommand(*privsep.call(entrypoint, self._group, *arguments))
        messages.refuse_failure(action, completed)
        return completed


def _illegal(name: str, reason: str = "") -> errors.InvalidReference:
    return errors.InvalidReference(f"LVM can't have a logical volume named {name!r}{reason}")
