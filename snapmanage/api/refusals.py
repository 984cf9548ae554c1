"""The statuses and the texts of refused requests, alone or as entries of a batch."""

from snapmanage import errors
from snapmanage.api.request import ApiRequest
from snapmanage.core import reasons

# The first class that matches decides.
STATUSES: tuple[tuple[type[errors.SnapmanageError], int], ...] = (
    (errors.NotAuthenticated, 401),
    (errors.NotAcceptable, 406),
    (errors.NotFound, 404),
    (errors.AlreadyManaged, 409),
    (errors.OriginRefuses, 409),
    (errors.IdInUse, 409),
    (errors.QuotaExceeded, 413),
    (errors.KeyReused, 422),
    (errors.NotPermitted, 403),
    (errors.ConfigurationError, 500),
    (errors.Invalid, 400),
    (errors.TooManyRequests, 429),
    (errors.Unavailable, 503),
    (errors.BackendError, 503),
)


def status_of(error: errors.SnapmanageError) -> int:
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def text_of(request: ApiRequest, error: errors.SnapmanageError) -> str:
    """Return the text of an error, or for a caller without administration a text without details of a backend."""
    return str(error) if request.is_admin else reasons.of_refusal(error, request.caller.requester.project_id)
