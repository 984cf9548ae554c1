"""Points between two durable steps at which tests can kill a process.

`SNAPMANAGE_CRASH_AT=NAME[:NTH]` kills the process with SIGKILL when it reaches the point for the NTH time, by default
the first. NAME is a member of `Point` in small letters with hyphens, such as `claim-uncommitted`.
Without the variable, the points do nothing. `tests/chaos` kills processes at every point.
"""

import itertools
import os
import signal
from collections.abc import Mapping
from enum import Enum

from snapmanage import errors

VARIABLE = "SNAPMANAGE_CRASH_AT"


class Point(Enum):
    """The points; the value describes the steps that are done, and those that aren't."""

    REQUEST_UNCOMMITTED = "a client's request is written with its cast, and not committed"
    REMOVE_UNCOMMITTED = "a volume is unmanaged with one write, not committed"
    QUOTA_QUEUE_OPENED = "a project's row is committed for its requests to queue on, the request is not"
    OWED_COMMITTED = "a change is committed with its messages, the relay was not nudged"
    UNANSWERED = "a client's request is carried out, the client has no answer"
    RELAY_UNCOMMITTED = "messages are postponed for their sending, not committed"
    RELAY_TAKEN = "messages are read from the outbox, not sent"
    RELAY_SENDING = "the relay is about to send messages, none is sent"
    UNCONFIRMED = "messages are sent, the broker's confirms have not arrived"
    RELAY_CONFIRMED = "the broker has confirmed messages, the outbox still has them"
    SERVER_ANNOUNCED = "a server's heartbeat is committed, the server doesn't consume yet"
    RECEIVED = "a server has received a batch, none of it is written"
    ACCEPT_UNCOMMITTED = "accepted requests are written, not committed"
    ACCEPTED = "accepted requests are committed, their messages are not acknowledged"
    QUARANTINED = "a message is quarantined, its error event is not sent"
    REDELIVERY_COUNTED = "an attempt at a redelivered message is counted, the message is not handled"
    REDELIVERY_HANDLED = "a redelivered message is handled, its attempt is still counted"
    SENT_AGAIN = "a message of the quarantine is sent again, and is still in the quarantine"
    HANDLED = "a batch is handled, not acknowledged"
    ACKNOWLEDGED = "a batch is handled and acknowledged, its operations are not begun"
    CLAIM_UNCOMMITTED = "an operation is claimed with its start event, not committed"
    CLAIMED = "an operation is claimed, its driver was not called"
    FOUND = "the driver has found the object of a reference, which is not written"
    RESOLVE_UNCOMMITTED = "the object of a reference is written, not committed"
    RESOLVED = "the object of a reference is committed, the backend was not touched"
    BATCH_LOOKED = "the driver has looked at the objects of a batch, none is renamed"
    RENAMING = "the driver has looked for the object, and is about to rename it"
    RENAMED = "the backend has renamed the object, the driver has not looked again"
    BATCH_RENAMED = "the backend has renamed the objects of a batch, the driver has not looked again"
    RENAME_UNSYNCED = "a directory has the new name, which is not synchronized to the disk"
    PROTECTION_NOTED = "the note that a snapshot was unprotected is written, the snapshot is still unprotected"
    UNPROTECTED = "a snapshot is unprotected again, the note is still there"
    CARRIED_OUT = "the driver has answered, the outcome is not written"
    SETTLE_UNCOMMITTED = "the end of an operation is written with its event, not committed"
    SETTLED = "the end of an operation is committed, its worker still has it in memory"
    REPORTS_TAKEN = "reports are leased for the upstream API, none is sent"
    REPORTS_SENT = "the upstream API has taken reports, the database still has them"
    RELEASE_UNCOMMITTED = "the claims of a drained worker are released, not committed"
    RELEASED = "the claims of a drained worker are released, the process hasn't ended"
    PURGE_UNCOMMITTED = "a batch of old rows is deleted, not committed"
    PURGED = "a batch of old rows is purged, the next one is not"
    EVENTS_RECEIVED = "the auditor has received a batch of events, none of it is written"
    AUDIT_UNCOMMITTED = "events are in the audit log, not committed"
    AUDIT_PURGE_UNCOMMITTED = "a part of the audit log is deleted and its base moved, not committed"
    AUDIT_PURGED = "a part of the audit log is purged, the next part is still there"

    @property
    def label(self) -> str:
        """Return the name of the point in the variable."""
        return self.name.lower().replace("_", "-")


def at(point: Point) -> None:
    """Kill the process at this point if `arm` has replaced this function."""


def arm(environment: Mapping[str, str]) -> None:
    """Prepare the kill that the variable requires; raise `ConfigurationError` if it names no point."""
    if VARIABLE not in environment:
        return
    label, _, nth = environment[VARIABLE].partition(":")
    armed = next((point for point in Point if point.label == label), None)
    if armed is None or not (nth or "1").isdecimal():
        raise errors.ConfigurationError(f"{VARIABLE} must be POINT or POINT:NTH; see snapmanage/crash.py for points")
    passed = itertools.count(1)

    def die(point: Point) -> None:
        if point is armed and next(passed) == int(nth or "1"):
            os.kill(os.getpid(), signal.SIGKILL)

    globals()["at"] = die
