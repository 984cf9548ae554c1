"""The page of limits has the numbers that the code has."""

from pathlib import Path

import pytest

import snapmanage
from snapmanage.api import answers, app, lists, schemas
from snapmanage.api.access import callers, http_basic, tokens
from snapmanage.audit.listener import LARGEST_READ
from snapmanage.bus import envelope
from snapmanage.bus.rabbit import arrived, frames
from snapmanage.core.lists import manageable, paging
from snapmanage.core.values import text
from snapmanage.drivers.system import deadline
from snapmanage.manage import queries
from snapmanage.store import ownership, quarantine
from snapmanage.store.engine import failures
from snapmanage.volume import callers as rpc_callers
from snapmanage.volume import fairness, scans

PAGE = (Path(snapmanage.__file__).parents[1] / "docs" / "reference" / "limits.md").read_text()
KIB, MIB = 1024, 1024**2


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("parameters of a query", app.MOST_PARAMETERS),
        ("project in a path", f"{callers.LONGEST_NAME} characters"),
        ("password (`http_basic`)", f"{http_basic.LONGEST_PASSWORD} bytes"),
        ("pairs of the metadata of a record", schemas.MOST_PAIRS),
        ("levels of nesting in a body", text.DEEPEST),
        ("properties and headers of a message", f"{frames.LARGEST_PROPERTIES // 1024} KiB"),
        ("text that an error repeats", f"{answers.LONGEST_TEXT:,} characters"),
        ("`offset`", f"{schemas.LARGEST_OFFSET:,}"),
        ("pairs of the filter `metadata`", f"{paging.MOST_PAIRS}, in {lists.LONGEST_METADATA:,} characters"),
        ("keys of `sort` in a list of records", paging.MOST_SORT_KEYS),
        ("`name~` of manageable snapshots", f"{manageable.LONGEST_NAME_PART} characters"),
        ("events of `GET /snapshots/ID/operation`", f"the newest {queries.SHOWN_EVENTS}"),
        ("request over the bus", f"{envelope.LARGEST_REQUEST // MIB} MiB"),
        ("event over the bus", f"{envelope.LARGEST_EVENT // MIB} MiB"),
        ("notification that is parsed", f"{LARGEST_READ // KIB} KiB"),
        ("messages that a consumer holds", f"200 messages, and {arrived.MOST_BYTES // MIB} MiB"),
        ("levels of nesting in the `ref` of a cast", text.DEEPEST),
        ("levels of nesting in the payload of an event", text.DEEPEST_EVENT),
        ("entries in the answer to `get_manageable_snapshots`", f"{manageable.MOST_ENTRIES:,}"),
        ("calls to one server without an answer", f"{rpc_callers.MOST_CALLS}, of which {rpc_callers.THREADS}"),
        ("abandoned listings and checks", deadline.MOST_HUNG),
        ("projects in the round robin", f"{fairness.MAX_PROJECTS:,}"),
        ("entries of the scans that a process keeps", f"{scans.MOST_ENTRIES:,}"),
        ("values in one statement", ownership.IDS_AT_ONCE),
        ("statement, and text of the database", f"{failures.LONGEST_STATEMENT} and {failures.LONGEST_TEXT} characters"),
        ("field of a log line", f"{text.LONGEST_REASON:,} characters"),
        ("accepted passwords", f"{http_basic.MOST_REMEMBERED:,}, for {http_basic.REMEMBERED_SECONDS:g} s"),
        ("valid tokens", f"{tokens.MOST_TOKENS:,}"),
        ("`quarantine`", f"{quarantine.LARGEST_KEPT // MIB} MiB"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_row_has_the_value_of_the_code(row: str, value: object) -> None:
    [line] = [each for each in PAGE.splitlines() if each.startswith(f"| {row}")]

    assert str(value) in line
