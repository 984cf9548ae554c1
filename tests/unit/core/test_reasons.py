"""Texts of errors for callers who aren't administrators."""

import pytest

from snapmanage import errors
from snapmanage.core import reasons

# Errors that end no operation, and that no handler raises.
BEFORE_HANDLERS = {
    errors.KeyReused,
    errors.NotAcceptable,
    errors.NotAuthenticated,
    errors.NotPermitted,
    errors.TooManyRequests,
}
CLASSES: list[type[errors.SnapmanageError]] = [
    getattr(errors, name)
    for name in sorted(errors.__all__)
    if getattr(errors, name) not in BEFORE_HANDLERS | {errors.SnapmanageError}
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_has_a_sentence(kind: type[errors.SnapmanageError]) -> None:
    assert reasons.sentence(kind.code) in reasons.SENTENCES.values()


@pytest.mark.parametrize("code", ["a_code_of_another_package", "", None])
def test_unknown_code_has_a_general_sentence(code: str | None) -> None:
    assert reasons.sentence(code) == "The operation failed."


@pytest.mark.parametrize(
    "kind", [errors.AlreadyManaged, errors.BackendError, errors.InUse, errors.Unavailable, errors.ServiceNotFound]
)
def test_refusal_that_may_name_a_host_or_a_path_is_replaced(kind: type[errors.SnapmanageError]) -> None:
    shown = reasons.of_refusal(kind("storage-1@fast has /srv/images/disk1"))

    assert shown == reasons.SENTENCES[kind.code]


@pytest.mark.parametrize("kind", [errors.InvalidRequest, errors.InvalidState, errors.QuotaExceeded])
def test_refusal_that_repeats_the_request_is_shown(kind: type[errors.SnapmanageError]) -> None:
    assert reasons.of_refusal(kind("limit must be a number")) == "limit must be a number"
