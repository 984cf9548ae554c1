"""A refused request has the code that the service sends; for other services the client derives it from the status."""

import io
from pathlib import Path
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from snapmanage import errors
from snapmanage.client.api import scans
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.api.posting import Poster
from snapmanage.client.api.records import Record, listed
from snapmanage.client.events import Reporter
from snapmanage.client.plan.entries import Expect, Header, Manage
from snapmanage.client.plan.journal import Outcome, State, opened
from snapmanage.client.reports.remedies import OTHERWISE, remedy
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.retrying import Retrier
from snapmanage.client.work.undoing import Undoer
from snapmanage.client.work.waiting import Deadline
from tests.unit.client.answering import FakeAdapter, Response, refusal

HOST = "storage-1@ceph"
HEADER = Header("p", "2026-01-01T00:00:00+00:00", "http://service/v3/p", "p", (HOST,))
SINGLE, BATCH = ("POST", "/os-snapshot-manage"), ("POST", "/os-snapshot-manage/batch")
BATCHES = Features(is_snapmanage=True, takes_batches=True)
TEXT = "Service is unavailable at this time."


def entry(key: str) -> tuple[Manage, str]:
    return Manage(key, "v1", HOST, {"source-name": key}, key, Expect(1, "disk-1")), "volume"


@pytest.mark.parametrize(
    ("status", "sent", "code"),
    [
        (400, "service_down", "service_down"),
        (400, "invalid_state", "invalid_state"),
        (409, "origin_refuses", "origin_refuses"),
        (409, "id_in_use", "id_in_use"),
        (400, None, "invalid_request"),
        (409, None, "already_managed"),
        (409, "\x1b[2J", "already_managed"),
        (500, None, "server_error"),
        (418, None, "refused"),
    ],
)
def test_refused_request_has_the_code_that_the_service_sends(status: int, sent: str | None, code: str) -> None:
    api = Api(FakeAdapter({SINGLE: refusal(status, TEXT, sent)}))

    [outcome] = Poster(api, Features(), HEADER).manage([entry("s1")])

    assert (outcome.state, outcome.why, outcome.text) == (State.FAILED, code, TEXT)


def test_refused_entry_of_a_batch_has_the_code_that_the_service_sends() -> None:
    fault: dict[str, Any] = {"status": 400, "badRequest": {"code": 400, "message": TEXT}}
    answer = Response(207, {"snapshots": [fault | {"error_code": "service_down"}, fault]})
    api = Api(FakeAdapter({BATCH: answer}))

    outcomes = Poster(api, BATCHES, HEADER).manage([entry("s1"), entry("s2")])

    assert [outcome.why for outcome in outcomes] == ["service_down", "invalid_request"]


def test_each_code_of_a_refused_request_has_a_remedy_of_its_own() -> None:
    refused = (
        errors.AlreadyManaged,
        errors.ConfigurationError,
        errors.IdInUse,
        errors.InvalidReference,
        errors.InvalidRequest,
        errors.InvalidState,
        errors.KeyReused,
        errors.NotAuthenticated,
        errors.NotFound,
        errors.NotPermitted,
        errors.OriginRefuses,
        errors.QuotaExceeded,
        errors.ServiceDown,
    )

    assert OTHERWISE not in {remedy(error.code) for error in refused}


def test_scan_of_a_server_that_is_down_can_be_repeated() -> None:
    api = Api(FakeAdapter({("GET", scans.PATH): refusal(400, TEXT, "service_down")}))

    with pytest.raises(
        errors.Unavailable, match=f"^host {HOST}: Service is unavailable at this time; start or enable the server$"
    ):
        list(scans.manageable(api, HOST, {}))


@pytest.mark.parametrize(("status", "remains"), [("unmanaging", False), ("creating", True)])
def test_snapshot_whose_unmanaging_is_refused_remains_unless_it_is_being_unmanaged(status: str, remains: bool) -> None:
    shown = Response(200, {"snapshot": {"id": "id-1", "status": status}})
    answers = {
        ("POST", "/snapshots/id-1/action"): refusal(400, "the status is wrong", "invalid_state"),
        ("GET", "/snapshots/id-1"): shown,
        ("GET", "/snapshots"): Response(200, {"count": 0}),
        ("GET", "/snapshots/detail"): Response(200, {"snapshots": []}),
    }
    api = Api(FakeAdapter(answers))
    poster, records = Poster(api, Features(), HEADER), LabelledRecords(api, HEADER.label)
    undoer = Undoer(api, poster, records, Reporter(io.StringIO(), False), Deadline(None, api.stop))

    with undoer.chosen:
        undoer.chosen.add(Record("id-1", "available"))
        remaining = undoer.run(1, None)

    assert remaining == ({"id-1": "the status is wrong"} if remains else {})


@pytest.mark.parametrize(
    ("code", "status", "state"),
    [
        ("invalid_state", "creating", State.ACCEPTED),
        ("invalid_state", "available", State.ACCEPTED),
        ("invalid_state", "error", State.FAILED),
        ("invalid_state", "unmanaging", State.FAILED),
        ("service_down", "creating", State.FAILED),
    ],
)
def test_refused_retry_counts_as_accepted_if_the_snapshot_is_no_longer_in_error(
    code: str, status: str, state: State, tmp_path: Path
) -> None:
    answers = {
        ("GET", "/snapshots/id-1/operation"): Response(200, {"operation": {"events": []}}),
        ("POST", "/snapshots/id-1/action"): refusal(400, "Volume 7 is creating; wait", code),
        ("GET", "/snapshots/id-1"): Response(200, {"snapshot": {"id": "id-1", "status": status}}),
    }
    api = Api(FakeAdapter(answers))
    with opened(tmp_path / "plan", HEADER.plan_id) as journal:
        retrier = Retrier(
            Poster(api, Features(), HEADER),
            LabelledRecords(api, HEADER.label),
            journal,
            Reporter(io.StringIO(), False),
            Deadline(None, api.stop),
        )

        refused = retrier.run([Outcome("s1", State.FAILED, "id-1", "unusable")], 1)

        assert journal.latest["s1"].state is state
        assert list(refused) == (["s1"] if state is State.FAILED else [])


def test_redirection_is_not_followed_since_it_could_take_the_token_to_another_host() -> None:
    class Adapter:
        def request(self, path: str, method: str, redirect: bool = True, **_: Any) -> Response:
            assert not redirect
            return Response(302, {}, CaseInsensitiveDict({"Location": "http://elsewhere\x1b/"}))

    with pytest.raises(errors.Unavailable, match=r"it redirects to http://elsewhere\\x1b/, which is not followed"):
        Api(Adapter()).get("/snapshots")


def test_list_whose_pages_repeat_ends_with_an_error() -> None:
    page = {"snapshots": [{"id": "id-1", "status": "available"}], "snapshots_links": [{"rel": "next", "href": "/"}]}
    api = Api(FakeAdapter({("GET", "/snapshots/detail"): Response(200, page)}))

    with pytest.raises(errors.Unavailable, match="two pages end with id-1"):
        list(listed(api, "snapshots", {}))


def test_scan_whose_pages_repeat_ends_with_an_error() -> None:
    page = {"manageable-snapshots": [{"reference": {"source-name": "a"}}], "manageable-snapshots_links": [{}]}
    api = Api(FakeAdapter({("GET", "/os-snapshot-manage/detail"): Response(200, page)}))

    with pytest.raises(errors.Unavailable, match="two pages end with"):
        list(scans.manageable(api, HOST, {}))
