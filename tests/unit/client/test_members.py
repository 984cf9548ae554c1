"""A record belongs to a plan if it is that of an entry; its label alone, which others can edit, proves nothing."""

from typing import Any

import pytest

from snapmanage.client.api.records import Record
from snapmanage.client.plan.entries import Expect, Manage, RegisterVolume
from snapmanage.client.work.members import Members

HOST = "storage-1@ceph"


def entry(snapshot_id: str | None) -> Manage:
    return Manage("s1", "v1", HOST, {"source-name": "disk-1@a"}, "a", Expect(1, "disk-1"), snapshot_id=snapshot_id)


def record(key: Any, record_id: str = "id-1", source: str | None = None) -> Record:
    return Record(record_id, "available", source=source, metadata={"adopted-as": key})


@pytest.mark.parametrize(
    ("chosen_id", "seen", "belongs"),
    [
        ("id-1", record("s1"), True),
        ("id-2", record("s1"), False),
        ("id-2", record("s1", source="disk-1@a"), False),
        (None, record("s1", source="disk-1@a"), True),
        (None, record("s1", source="disk-1@b"), False),
        (None, record("s1"), True),
        (None, record("v1", source="disk-1"), True),
        (None, record("v1", source="disk-2"), False),
        (None, record("s2"), False),
        (None, record(None), False),
        (None, record([]), False),
        (None, Record("id-1", "available"), False),
    ],
)
def test_record_belongs_to_the_plan_by_its_id_or_else_by_its_source(
    chosen_id: str | None, seen: Record, belongs: bool
) -> None:
    volume = RegisterVolume("v1", HOST, {"source-name": "disk-1"}, "disk-1")

    assert Members([volume, entry(chosen_id)]).has(seen) is belongs
