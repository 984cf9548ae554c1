"""Every deliberate error of snapmanage, in one tree.

Two questions decide a class: can trying again help (`BackendError`, `Unavailable`), or never
(`Invalid`)? Each has a stable `code`, which clients and auditors may rely on; the text is for
an operator. HTTP statuses are chosen elsewhere, in `api/app.py`.
"""

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
    "SnapmanageError",
    "SnapshotNotFound",
    "SourceNotFound",
    "Unavailable",
    "Unusable",
    "VolumeNotFound",
    "WrongVolume",
]


class SnapmanageError(Exception):
    """What snapmanage raises on purpose; its text may be shown to a client."""

    code = "error"


# What trying again never helps.


class Invalid(SnapmanageError):
    """The request can't be carried out as it stands."""

    code = "invalid"


class InvalidRequest(Invalid):
    """A body, a parameter or a message breaks its contract."""

    code = "invalid_request"


class NotAcceptable(InvalidRequest):
    """The microversion is outside what is served."""

    code = "not_acceptable"


class InvalidState(Invalid):
    """The record's status doesn't allow what was asked."""

    code = "invalid_state"


class InvalidReference(Invalid):
    """The reference has the wrong key, or a name that the backend can't have."""

    code = "invalid_reference"


class SourceNotFound(Invalid):
    """The backend has no object of that name."""

    code = "source_not_found"


class NotASnapshot(Invalid):
    """The object exists, but it is no snapshot."""

    code = "not_a_snapshot"


class NotAVolume(Invalid):
    """The object exists, but it is no volume."""

    code = "not_a_volume"


class WrongVolume(Invalid):
    """The object is a snapshot of another volume."""

    code = "wrong_volume"


class AlreadyManaged(Invalid):
    """Another record owns the backend object, or is about to."""

    code = "already_managed"


class InUse(Invalid):
    """The object is open or locked by somebody."""

    code = "in_use"


class Unusable(Invalid):
    """The snapshot is invalid, overflowed or merging."""

    code = "unusable"


class NameTaken(Invalid):
    """Another object bears the name that this one should get."""

    code = "name_taken"


class AttemptsExhausted(Invalid):
    """It was tried as often as `max_attempts` allows."""

    code = "attempts_exhausted"


class QuotaExceeded(Invalid):
    """The project may manage no more."""

    code = "quota_exceeded"


class KeyReused(Invalid):
    """The idempotency key stands for another request."""

    code = "key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request: repeat that one unchanged, or use a new key."
        )


class NotFound(Invalid):
    """No record of that id."""

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


class ServiceNotFound(NotFound):
    def __init__(self, host: str) -> None:
        super().__init__(f"Service snapmanage-volume could not be found on host {host}.")


class ServiceDown(Invalid):
    """The server that owns the backend is disabled, or its heartbeat is overdue."""

    code = "service_down"

    def __init__(self) -> None:
        super().__init__("Service is unavailable at this time.")


class NotAuthenticated(Invalid):
    """The caller doesn't prove who it is; `challenge` says how it could."""

    code = "not_authenticated"

    def __init__(self, challenge: str) -> None:
        super().__init__("The request you have made requires authentication.")
        self.challenge = challenge


class NotPermitted(Invalid):
    """The caller may not do that."""

    code = "not_permitted"


class ConfigurationError(Invalid):
    """An option is missing or contradicts another; the text names both option and remedy."""

    code = "configuration"


# What may pass.


class Unavailable(SnapmanageError):
    """A part of snapmanage doesn't answer now; asking again later may help."""

    code = "unavailable"


class BackendError(SnapmanageError):
    """The backend failed in a way that may pass; tried again after a back-off."""

    code = "backend_error"


class BackendUnavailable(BackendError):
    """The backend can't be reached, or didn't answer within its deadline."""

    code = "backend_unavailable"


class BackendBusy(BackendError):
    """The backend is locked by somebody else at the moment."""

    code = "backend_busy"


class BackendPermission(BackendError):
    """The backend refuses snapmanage's credentials; an operator can mend that."""

    code = "backend_permission"
