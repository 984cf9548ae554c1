"""Messages of lvm2 beside its reports: the errors of a failed command, and the warnings of a successful one.

Messages only choose among errors and reasons. The driver looks at the group to decide whether a rename was done.
"""

import json
import re

from snapmanage import errors
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.system.failures import KnownFailure, command_error

# `--config` overrides lvm.conf, lvmlocal.conf, the files of tags, and profiles. Every command gets these settings, so
# that errors are written on standard error, without prefixes.
CONFIG = 'log{report_command_log=0 prefix="" indent=0 command_names=0 verbose=0 silent=0} report{output_format="basic"}'
DUPLICATE = "two devices look like one physical volume of the group; hide one of them from LVM"
_DUPLICATE = re.compile(r"Not using device \S+ for PV (\S+?)\.?$", re.MULTILINE)
# Warnings on standard error of a successful command, and the reason why LVM then renames nothing in the group.
_WARNINGS = {
    "TEST MODE:": "LVM runs in test mode and changes nothing; set global/test to 0 in lvm.conf",
    "Unrecognised segment type": "its volume group has a kind of logical volume that this lvm2 doesn't know; "
    "install a newer lvm2",
}
# Failures by the messages of the command, the most specific first.
_FAILURES = {
    r"Permission denied": KnownFailure(errors.BackendPermission, "let snapmanage run lvm2 as root"),
    r"Can't get lock": KnownFailure(errors.BackendBusy, "another command holds the group's lock"),
    r"Volume group .* not found": KnownFailure(
        errors.BackendUnavailable, "see whether its physical volumes are attached"
    ),
    r"Volume group .* is exported": KnownFailure(errors.BackendUnavailable, "import it: vgimport"),
    r"Cannot access (clustered )?VG": KnownFailure(
        errors.BackendUnavailable, "this host isn't allowed to use the group; see its system id and lock type"
    ),
    r"already exists in volume group": KnownFailure(errors.NameTaken, "rename the other logical volume"),
    r"Existing logical volume .* not found": KnownFailure(errors.SourceNotFound, "list the backend again"),
    r"LV locked by other host": KnownFailure(errors.InUse, "deactivate it on the other host"),
    r"Cannot rename locked LV": KnownFailure(
        errors.InUse, "LVM has locked it, as pvmove does while it moves the data; wait for the end"
    ),
    r"Cannot rename ": KnownFailure(errors.Unusable, "it is a part of another logical volume"),
    r"while PVs are missing": KnownFailure(errors.Unusable, "attach the group's missing physical volume again"),
    r"Volume group .* is read-only": KnownFailure(errors.Unusable, "make the group writable: vgchange"),
    r"with unknown segments": KnownFailure(
        errors.Unusable, "the group has a kind of logical volume that this lvm2 doesn't know; install a newer lvm2"
    ),
    r"with duplicate PV": KnownFailure(errors.Unusable, DUPLICATE),
}


def refuse_failure(action: str, completed: CompletedCommand) -> None:
    """Raise the error of a command that failed."""
    code, output, error = completed
    if code != 0:
        raise command_error(action, "lvm2", code, messages(output, error), _FAILURES)


def group_refusal(warnings: str) -> str | None:
    """Return the reason in a command's warnings why LVM renames nothing in the group, as a clause; else None."""
    return next((reason for text, reason in _WARNINGS.items() if text in warnings), None)


def duplicate_volumes(warnings: str) -> frozenset[str]:
    """Return the UUIDs of the physical volumes, of any group, that LVM warns of seeing more than once."""
    return frozenset(_DUPLICATE.findall(warnings))


def messages(output: str, error: str) -> str:
    """Return the messages of a failed command, one a line.

    lvm2 2.03.16 writes errors on standard error. lvm2 2.03.31 can write them into the report on standard output, as the
    `log_message` of its lines, with only warnings on standard error. Output that isn't JSON is taken as messages.
    """
    try:
        lines = json.loads(output).get("log", ())
        logged = "\n".join(line["log_message"] for line in lines if line["log_type"] != "status")
    except (ValueError, KeyError, TypeError, AttributeError):
        logged = output
    return f"{logged}\n{error}"
