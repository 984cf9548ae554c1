"""Texts of errors for callers who aren't administrators: no host, no path, and no record of another project."""

from collections.abc import Mapping

from snapmanage import errors

# A sentence for each code. The text of an error itself is for administrators only.
SENTENCES: Mapping[str, str] = {
    "already_managed": "The object on the backend is managed already, or a request to manage it is being carried out.",
    "attempts_exhausted": "All attempts at the operation have failed.",
    "backend_busy": "The backend is locked at the moment.",
    "backend_error": "The backend failed.",
    "backend_permission": "The backend refuses the service's credentials.",
    "backend_unavailable": "The backend does not answer.",
    "configuration": "The service is configured wrongly.",
    "in_use": "The object on the backend is in use.",
    "invalid": "The request can't be carried out as it is.",
    "invalid_reference": "The reference is not valid on the backend.",
    "invalid_request": "The request is malformed.",
    "invalid_state": "The status of the record doesn't allow the operation.",
    "name_taken": "Another object on the backend has the name that this one should get.",
    "not_a_snapshot": "The object on the backend is not a snapshot.",
    "not_a_volume": "The object on the backend is not a volume.",
    "not_found": "The volume, or the server of its backend, could not be found.",
    "quota_exceeded": "The request exceeds the quota of the project.",
    "service_down": "The server of the backend is disabled or down.",
    "slow_list": "The list takes the database too long.",
    "source_not_found": "The backend has no object of that name.",
    "unavailable": "The server of the backend does not answer; try again later.",
    "unusable": "The object on the backend is unusable.",
    "wrong_volume": "The object on the backend is a snapshot of another volume.",
}
OTHERWISE = "The operation failed."
# Errors of requests whose texts repeat the request, or show the status of a record that the caller may see.
_HARMLESS = (
    errors.InvalidReference,
    errors.InvalidRequest,
    errors.InvalidState,
    errors.KeyReused,
    errors.NotFound,
    errors.NotPermitted,
    errors.QuotaExceeded,
    errors.SlowList,
)


def sentence(code: str | None) -> str:
    """Return the sentence for the code of a failed operation; drivers of other packages may have codes of their own."""
    return SENTENCES.get(code or "", OTHERWISE)


def of_refusal(error: errors.SnapmanageError, project_id: str | None = None) -> str:
    """Return the text of a refused request for a caller who isn't an administrator, in the caller's project."""
    if isinstance(error, errors.AlreadyManaged) and error.owner_id and error.project_id == project_id:
        return f"{sentence(error.code)} Its record is {error.owner_id}."
    if isinstance(error, errors.ServiceDown):
        return error.text_for_readers
    harmless = isinstance(error, _HARMLESS) and not isinstance(error, errors.ServiceNotFound)
    return str(error) if harmless else sentence(error.code)
