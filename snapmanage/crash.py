"""Places at which a process can die between two durable steps, by name, so that tests can let it die there.

`SNAPMANAGE_CRASH_AT=NAME[:NTH]` kills the process with SIGKILL when it comes to that place (for the
NTH time); NAME is a member of `Point` in small letters with hyphens, such as `claim-committed`.
Without the variable nothing happens here. It is for tests: `tests/chaos` goes through every point.
"""

import itertools
import os
import signal
from collections.abc import Mapping
from enum import Enum

from snapmanage import errors

VARIABLE = "SNAPMANAGE_CRASH_AT"


class Point(Enum):
    """What is done at a point, and what is not."""

    REQUEST_UNCOMMITTED = "a client's request is written with its cast, and not committed"
    QUOTA_QUEUE_OPENED = "a project's row is committed for its requests to queue on, the request is not"
    OWED_COMMITTED = "a change is committed with its messages, the relay doesn't know of them"
    UNANSWERED = "a client's request is carried out, its client has no answer"
    RELAY_UNCOMMITTED = "messages are put off for sending, not committed"
    RELAY_TAKEN = "messages are taken from the table, not sent"
    RELAY_SENDING = "messages are in the relay's hands, not sent"
    UNCONFIRMED = "messages are sent, the broker's confirms are not awaited"
    RELAY_CONFIRMED = "the broker has confirmed messages, the outbox still has them"
    SERVER_ANNOUNCED = "a server's heartbeat is committed, it doesn't consume yet"
    RECEIVED = "a batch has come to a server, nothing of it is written"
    ACCEPT_UNCOMMITTED = "what was asked is written, not committed"
    ACCEPTED = "what was asked is committed, nobody was told"
    QUARANTINED = "what can't be understood or kept, is put aside, nobody was told"
    SUSPECTED = "a message that was delivered before is counted, and not handled"
    SUSPECT_HANDLED = "a message that was delivered before is handled, and still counted"
    SENT_AGAIN = "a message of the quarantine is sent again, and still kept there"
    HANDLED = "a batch is handled, the broker doesn't know"
    ACKNOWLEDGED = "a batch is handled and acknowledged, what it asks for is not begun"
    CLAIM_UNCOMMITTED = "an operation is claimed with its start event, not committed"
    CLAIMED = "an operation is claimed, its driver was not called"
    FOUND = "the driver has found what a reference means, nothing of it is written"
    RESOLVE_UNCOMMITTED = "what a reference means is written, not committed"
    RESOLVED = "what a reference means is committed, the backend was not touched"
    RENAMING = "the driver has looked, and is about to rename"
    RENAMED = "the backend has renamed, the driver has not looked again"
    RENAME_UNSYNCED = "a directory has the new name, which is not on the disk for certain"
    PROTECTION_NOTED = "it is noted that a snapshot was unprotected, which it still is"
    UNPROTECTED = "a snapshot is unprotected again, the note of it is still there"
    CARRIED_OUT = "the driver has answered, nothing of it is written"
    SETTLE_UNCOMMITTED = "the end of an operation is written with its event, not committed"
    SETTLED = "the end of an operation is committed, its worker still holds it in memory"
    GIVE_BACK_UNCOMMITTED = "what a drained worker can't finish is given back, not committed"
    GIVEN_BACK = "what a drained worker couldn't finish is given back, the process hasn't ended"
    HEARD = "a batch of events has come to the auditor, nothing of it is written"
    AUDIT_UNCOMMITTED = "events are in the audit log, not committed"

    @property
    def label(self) -> str:
        """Its name in the variable."""
        return self.name.lower().replace("_", "-")


def at(point: Point) -> None:
    """Die here, if that was asked for; `arm` puts something else in this function's place."""


def arm(environment: Mapping[str, str]) -> None:
    """Do what the variable says; `ConfigurationError` when it names no point."""
    if VARIABLE not in environment:
        return
    label, _, nth = environment[VARIABLE].partition(":")
    wanted = next((point for point in Point if point.label == label), None)
    if wanted is None or not (nth or "1").isdecimal():
        raise errors.ConfigurationError(f"{VARIABLE} must be POINT or POINT:NTH; see snapmanage/crash.py for points")
    passed = itertools.count(1)

    def die(point: Point) -> None:
        if point is wanted and next(passed) == int(nth or "1"):
            os.kill(os.getpid(), signal.SIGKILL)

    globals()["at"] = die
