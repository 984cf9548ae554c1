"""One attempt to deliver a report over HTTP."""

import time
from collections.abc import Callable

import pytest

from snapmanage.core.upstream import Report, RequestKind, Result
from snapmanage.upstream.client import LARGEST_ANSWER, LONGEST_RETRY_AFTER, UpstreamClient
from snapmanage.upstream.delivery import deliver
from tests.examples import NOW, SNAPSHOT_ID, new_id
from tests.services.upstream import Odd, SmallUpstream, small_upstream

PROJECT = "a" * 32


def report(status: str = "available", request: RequestKind = RequestKind.MANAGE) -> Report:
    return Report(new_id(), SNAPSHOT_ID, PROJECT, request, status, NOW, NOW)


def test_outcome_is_taken_as_the_first_status_of_the_snapshot(upstream: SmallUpstream, client: UpstreamClient) -> None:
    upstream.statuses[SNAPSHOT_ID] = "creating"

    verdict = deliver(report(), client)

    assert verdict.result is Result.TAKEN
    [(method, path, body, headers)] = upstream.requests
    assert (method, path) == ("POST", f"/v3/{PROJECT}/snapshots/{SNAPSHOT_ID}/action")
    assert body == {"os-update_snapshot_status": {"status": "available", "progress": "100%"}}
    assert headers["X-Auth-Token"] == f"snapmanage:{PROJECT}"


def test_failure_is_reported_without_a_progress(upstream: SmallUpstream, client: UpstreamClient) -> None:
    upstream.statuses[SNAPSHOT_ID] = "creating"

    deliver(report("error"), client)

    assert upstream.actions == [(SNAPSHOT_ID, {"os-update_snapshot_status": {"status": "error"}})]


def test_repeated_report_is_taken_again(upstream: SmallUpstream, client: UpstreamClient) -> None:
    upstream.statuses[SNAPSHOT_ID] = "creating"
    upstream.odd = [Odd(503, taken=True)]

    verdicts = [deliver(report(), client).result for _ in range(2)]

    assert verdicts == [Result.AWAY, Result.TAKEN]
    assert upstream.statuses[SNAPSHOT_ID] == "available"


@pytest.mark.parametrize(
    ("request_kind", "current", "status"),
    [
        (RequestKind.MANAGE, "error", "available"),
        (RequestKind.UNMANAGE, "unmanaging", "error"),
        (RequestKind.REFUSED, "deleting", "error_deleting"),
    ],
)
def test_later_outcome_reaches_a_snapshot_that_has_another_status(
    upstream: SmallUpstream, client: UpstreamClient, request_kind: RequestKind, current: str, status: str
) -> None:
    upstream.statuses[SNAPSHOT_ID] = current

    verdict = deliver(report(status, request_kind), client)

    assert verdict.result is Result.TAKEN
    assert upstream.statuses[SNAPSHOT_ID] == status


def test_outcome_that_does_not_matter_any_more_changes_nothing(upstream: SmallUpstream, client: UpstreamClient) -> None:
    upstream.statuses[SNAPSHOT_ID] = "unmanaging"

    verdict = deliver(report(), client)

    assert (verdict.result, verdict.text) == (Result.MOOT, "its status is unmanaging")
    assert upstream.statuses[SNAPSHOT_ID] == "unmanaging"


def test_snapshot_that_the_upstream_does_not_know_is_gone(upstream: SmallUpstream, client: UpstreamClient) -> None:
    assert deliver(report(), client).result is Result.GONE


def test_refusal_of_a_first_outcome_is_final(upstream: SmallUpstream, client: UpstreamClient) -> None:
    upstream.statuses[SNAPSHOT_ID] = "creating"
    upstream.odd = [Odd(400, b'{"badRequest": {"message": "no such field"}}')]

    verdict = deliver(report(), client)

    assert (verdict.result, verdict.text) == (Result.REFUSED, "no such field")


@pytest.mark.parametrize(
    ("odd", "result"),
    [
        (Odd(503, headers={"Retry-After": "7"}), Result.AWAY),
        (Odd(429), Result.AWAY),
        (Odd(401), Result.AWAY),
        (Odd(200, b"<html>a page of a proxy</html>"), Result.AWAY),
        (Odd(500, b"\xff\x00"), Result.FAILED),
        (Odd(422, b"[" * 100_000), Result.REFUSED),
        (Odd(400, b"x" * (LARGEST_ANSWER + 1)), Result.AWAY),
        (Odd(202, b"12345678", pause_seconds=0.5), Result.AWAY),
    ],
    ids=["away", "too many", "no token", "a page", "no text", "brackets", "too large", "too slow"],
)
def test_odd_answer_is_judged(upstream: SmallUpstream, client: UpstreamClient, odd: Odd, result: Result) -> None:
    upstream.statuses[SNAPSHOT_ID] = "creating"
    upstream.odd = [odd]
    started = time.monotonic()

    verdict = deliver(report(), client)

    assert verdict.result is result
    assert verdict.text.isprintable()
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("-5", 0.0), ("1e9", LONGEST_RETRY_AFTER), ("nan", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_retry_after_is_a_bounded_number_of_seconds(
    upstream: SmallUpstream, client: UpstreamClient, value: str, seconds: float | None
) -> None:
    upstream.odd = [Odd(503, headers={"Retry-After": value})]

    assert deliver(report(), client).retry_after == seconds


def test_redirection_is_not_followed(upstream: SmallUpstream, client: UpstreamClient) -> None:
    with small_upstream() as elsewhere:
        upstream.odd = [Odd(307, headers={"Location": f"{elsewhere.endpoint}/{PROJECT}/snapshots/x/action"})]

        verdict = deliver(report(), client)

        assert verdict.result is Result.AWAY
        assert "redirections are not followed" in verdict.text
        assert elsewhere.requests == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"snapshot": {"status": 5}}'])
def test_answer_that_shows_no_snapshot_is_not_believed(
    upstream: SmallUpstream, client: UpstreamClient, body: bytes
) -> None:
    upstream.odd = [Odd(200, body)]

    assert deliver(report("error", RequestKind.UNMANAGE), client).result is Result.AWAY


def test_upstream_without_a_listener_is_away(
    upstream: SmallUpstream, make_client: Callable[[str], UpstreamClient]
) -> None:
    verdict = deliver(report(), make_client("http://127.0.0.1:1/v3"))

    assert verdict.result is Result.AWAY
    assert "127.0.0.1" in verdict.text
