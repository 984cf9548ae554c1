"""Every deliberate error of snapmanage, in one tree.

One question decides an error's class: can a retry help (`BackendError`, `Unavailable`) or not (`Invalid`)?
Each error has a stable `code`, on which clients and auditors may rely; its text is for an operator.
`api/app.py` chooses the HTTP statuses.
"""

from collections.abc import Sequence

__all__ = [
    "AlreadyManaged",
    "AttemptsExhausted",
    "BackendBusy",
    "BackendError",
    "BackendPermission",
    "BackendUnavailable",
    "ConfigurationError",
    "InUse",
    "Invalid",
    "InvalidReference",
    "InvalidRequest",
    "InvalidState",
    "KeyReused",
    "MessageNotFound",
    "NameTaken",
    "NotASnapshot",
    "NotAVolume",
    "NotAcceptable",
    "NotAuthenticated",
    "NotFound",
    "NotPermitted",
    "QuotaExceeded",
    "ServiceDown",
    "ServiceNotFound",
    "SlowList",
    "SnapmanageError",
    "SnapshotNotFound",
    "SourceNotFound",
    "TooManyRequests",
    "Unavailable",
    "Unusable",
    "VolumeNotFound",
    "WrongVolume",
]


class SnapmanageError(Exception):
    """The base of all deliberate errors; a client may see the text."""

    code = "error"


# Errors that no retry can help.


class Invalid(SnapmanageError):
    """The request can't be carried out as it is."""

    code = "invalid"


class InvalidRequest(Invalid):
    """A body, a parameter or a message breaks its contract."""

    code = "invalid_request"


class NotAcceptable(InvalidRequest):
    """The microversion is outside of the supported range."""

    code = "not_acceptable"


class InvalidState(Invalid):
    """The status of the record doesn't allow the operation."""

    code = "invalid_state"


class InvalidReference(Invalid):
    """The reference has a wrong key, or a name that is impossible on the backend."""

    code = "invalid_reference"


class SourceNotFound(Invalid):
    """The backend has no object of that name."""

    code = "source_not_found"


class NotASnapshot(Invalid):
    """The object exists, but is not a snapshot."""

    code = "not_a_snapshot"


class NotAVolume(Invalid):
    """The object exists, but is not a volume."""

    code = "not_a_volume"


class WrongVolume(Invalid):
    """The object is a snapshot of another volume."""

    code = "wrong_volume"


class AlreadyManaged(Invalid):
    """Another record owns the backend object, or has requested it.

    `refused_id` is the record that can't have the unique `keys`. `owner_id` is the other record, if it is known, and
    `project_id` its project.
    """

    code = "already_managed"

    def __init__(
        self,
        text: str,
        refused_id: str = "",
        keys: Sequence[str] = (),
        owner_id: str | None = None,
        project_id: str | None = None,
    ) -> None:
        super().__init__(text)
        self.refused_id = refused_id
        self.keys = keys
        self.owner_id = owner_id
        self.project_id = project_id


class InUse(Invalid):
    """Another process has the object open or locked."""

    code = "in_use"


class Unusable(Invalid):
    """The object is damaged, overflowed or merging."""

    code = "unusable"


class NameTaken(Invalid):
    """Another object has the name that this one should get."""

    code = "name_taken"


class AttemptsExhausted(Invalid):
    """All `max_attempts` attempts at the operation were used."""

    code = "attempts_exhausted"


class QuotaExceeded(Invalid):
    """The request exceeds the quota of the project."""

    code = "quota_exceeded"


class KeyReused(Invalid):
    """The idempotency key was used for another request."""

    code = "key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request: repeat that one unchanged, or use a new key."
        )


class NotFound(Invalid):
    """There is no record of this id."""

    code = "not_found"


class VolumeNotFound(NotFound):
    def __init__(self, volume_id: str) -> None:
        super().__init__(f"Volume {volume_id} could not be found.")


class SnapshotNotFound(NotFound):
    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"Snapshot {snapshot_id} could not be found.")


class MessageNotFound(NotFound):
    def __init__(self, message_id: str) -> None:
        super().__init__(f"Message {message_id} could not be found.")


# Hosts that the text of an error lists at most.
MOST_HOSTS = 20


class ServiceNotFound(NotFound):
    """No server ever had a heartbeat on the host; the text lists the hosts that exist, if they are `known`."""

    def __init__(self, host: str, known: Sequence[str] = (), binary: str = "snapmanage-volume") -> None:
        more = f" and {len(known) - MOST_HOSTS} more" if len(known) > MOST_HOSTS else ""
        hosts = f" These hosts exist: {', '.join(known[:MOST_HOSTS])}{more}." if known else ""
        super().__init__(f"Service {binary} could not be found on host {host}.{hosts}")


class ServiceDown(Invalid):
    """The server that owns the backend is disabled, or its heartbeat is overdue.

    Only administrators see its name; every caller sees why it is disabled.
    """

    code = "service_down"

    def __init__(self, server: str, why: str) -> None:
        text = "Service is unavailable at this time."
        super().__init__(f"{text} The server {server} {why}.")
        self.text_for_readers = f"{text} The server of the backend {why}."


class NotAuthenticated(Invalid):
    """The caller isn't authenticated; `challenge` is the header that names the accepted ways."""

    code = "not_authenticated"

    def __init__(self, challenge: str) -> None:
        super().__init__("The request you have made requires authentication.")
        self.challenge = challenge


class NotPermitted(Invalid):
    """The policy doesn't allow the caller to do this."""

    code = "not_permitted"


class ConfigurationError(Invalid):
    """An option is missing or contradicts another one; the text names the option and the remedy."""

    code = "configuration"


# Errors that a retry may help.


class Unavailable(SnapmanageError):
    """A part of snapmanage doesn't answer at the moment; a later request may succeed."""

    code = "unavailable"


class SlowList(Unavailable):
    """A list of records takes the database too long, or waits for others that do."""

    code = "slow_list"


class TooManyRequests(SnapmanageError):
    """The caller's address has sent too many wrong passwords, or too many passwords are being checked."""

    code = "too_many_requests"

    def __init__(self, text: str, retry_after_seconds: int) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class BackendError(SnapmanageError):
    """The backend failed, perhaps temporarily; the operation is retried after a back-off."""

    code = "backend_error"


class BackendUnavailable(BackendError):
    """The backend can't be reached, or didn't answer within its deadline."""

    code = "backend_unavailable"


class BackendBusy(BackendError):
    """Another process has the backend locked at the moment."""

    code = "backend_busy"


class BackendPermission(BackendError):
    """The backend refuses snapmanage's credentials; an operator must fix them."""

    code = "backend_permission"
