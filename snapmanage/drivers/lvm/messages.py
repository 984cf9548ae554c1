"""What lvm2 says beside its reports: why a command failed, and the warnings of one that succeeded.

Messages only choose among errors and reasons: whether something was done is judged by looking.
"""

import json
import re

from snapmanage import errors
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.system.failures import KnownFailure, command_error

# `--config` wins over lvm.conf, lvmlocal.conf, the files of tags and profiles. This is for every command, so that
# errors come on standard error, as they are.
CONFIG = 'log{report_command_log=0 prefix="" indent=0 command_names=0 verbose=0 silent=0} report{output_format="basic"}'
DOUBLED = "two devices look like one physical volume of the group; hide one of them from LVM"
_DOUBLED = re.compile(r"Not using device \S+ for PV (\S+?)\.?$", re.MULTILINE)
# Warnings on standard error of a command that succeeds, and why LVM renames nothing in the group then.
_WARNINGS = {
    "TEST MODE:": "LVM runs in test mode and changes nothing; set global/test to 0 in lvm.conf",
    "Unrecognised segment type": "its volume group has a kind of logical volume that this lvm2 doesn't know",
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
        errors.BackendUnavailable, "this host may not have the group as it is"
    ),
    r"already exists in volume group": KnownFailure(errors.NameTaken, "rename the other one"),
    r"Existing logical volume .* not found": KnownFailure(errors.SourceNotFound, "list the backend again"),
    r"LV locked by other host": KnownFailure(errors.InUse, "another host has it active"),
    r"Cannot rename locked LV": KnownFailure(errors.InUse, "LVM has locked it, as pvmove does while it moves the data"),
    r"Cannot rename ": KnownFailure(errors.Unusable, "it is a part of another logical volume"),
    r"while PVs are missing": KnownFailure(errors.Unusable, "attach the group's missing physical volume again"),
    r"Volume group .* is read-only": KnownFailure(errors.Unusable, "LVM changes nothing in the group"),
    r"with unknown segments": KnownFailure(
        errors.Unusable, "the group has a kind of logical volume that this lvm2 doesn't know"
    ),
    r"with duplicate PV": KnownFailure(errors.Unusable, DOUBLED),
}


def refuse_failure(action: str, completed: CompletedCommand) -> None:
    """Raise the error of a command that failed."""
    code, output, error = completed
    if code != 0:
        raise command_error(action, "lvm2", code, messages(output, error), _FAILURES)


def rigidity(warnings: str) -> str | None:
    """Return why LVM renames nothing in the group, as a clause; None where its warnings don't say so."""
    return next((reason for text, reason in _WARNINGS.items() if text in warnings), None)


def doubled(warnings: str) -> frozenset[str]:
    """Return the UUIDs of physical volumes, of any group, that LVM warns to see more than once."""
    return frozenset(_DOUBLED.findall(warnings))


def messages(output: str, error: str) -> str:
    """Return what a command said of its failure, one message a line.

    lvm2 2.03.16 writes errors on standard error; 2.03.31 can write them into the report on standard
    output, as the `log_message` of its lines, with nothing but warnings left on standard error.
    """
    return f"{_logged(output)}\n{error}"


def _logged(output: str) -> str:
    """Return the errors in a report's log, or the whole output where it isn't in JSON."""
    try:
        lines = json.loads(output).get("log", ())
        return "\n".join(line["log_message"] for line in lines if line["log_type"] != "status")
    except (ValueError, KeyError, TypeError, AttributeError):
        return output
