"""Requests in Cinder's dialect end with a report, also those that are refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snapmanage.core.upstream import RequestKind
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.maintenance import upstream
from snapmanage.store.audit import histories
from snapmanage.testing.waiting import until
from tests.examples import sample_body, sample_content
from tests.functional.client import SERVER
from tests.functional.volume.helpers import SNAPSHOT, publish, quarantined, upstream_request
from tests.functional.world import RULES, World, running_world

SAMPLE = "d6d925e0-eec3-4905-993c-4bba6f7f57c0"
VOLUME = "volume-916bf7fc-22b0-4089-9528-bec5083ba14e"


@pytest.fixture
def cinder_world(tmp_path: Path) -> Iterator[World]:
    driver = FakeDriver(fake_volumes=1)
    driver.add_volume(VOLUME)
    driver.add_snapshot(VOLUME, "backend-snap-0000001")
    with running_world(tmp_path, {SERVER: driver}, replace(RULES, report_upstream=True)) as world:
        yield world


def owed(world: World) -> list[tuple[str, RequestKind, str]]:
    return [(each.snapshot_id, each.request, each.status) for each in upstream.entries(world.db)]


def altered(name: str, **arguments: Any) -> bytes:
    """Return a sample with other arguments."""
    content = sample_content(name)
    content["args"] |= arguments
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()


def test_outcome_of_a_cast_of_cinder_is_owed(cinder_world: World) -> None:
    publish(cinder_world, sample_body("cast_manage_existing_snapshot"))

    assert until(lambda: owed(cinder_world), "the report") == [(SAMPLE, RequestKind.MANAGE, "available")]


def test_outcome_of_a_cast_in_the_own_dialect_is_not_owed(cinder_world: World) -> None:
    volume = cinder_world.register_volume()
    publish(cinder_world, upstream_request(volume_id=volume, ref={"source-name": SNAPSHOT}))

    cinder_world.manage_snapshot(volume, "volume-1-snapshot-2")

    assert owed(cinder_world) == []


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (altered("cast_manage_existing_snapshot", ref={}), (SAMPLE, RequestKind.REFUSED, "error")),
        (
            altered("cast_delete_snapshot_unmanage_only", unmanage_only=False),
            (SAMPLE, RequestKind.REFUSED, "error_deleting"),
        ),
        (altered("cast_delete_snapshot_unmanage_only"), (SAMPLE, RequestKind.UNMANAGE, "error")),
    ],
    ids=["no reference", "a delete", "an unmanage of an unknown snapshot"],
)
def test_refused_cast_of_cinder_is_owed_once(cinder_world: World, body: bytes, report: Any) -> None:
    publish(cinder_world, body, body)

    assert owed(cinder_world) == [report]


def test_late_repeat_of_an_unmanage_whose_record_is_purged_owes_nothing(cinder_world: World) -> None:
    cinder_world.db.write(lambda conn, _: histories.keep_announced(conn, {SAMPLE: 4}))

    publish(cinder_world, sample_body("cast_delete_snapshot_unmanage_only"))

    assert len(quarantined(cinder_world)) == 1
    assert owed(cinder_world) == []


@pytest.mark.parametrize(
    "body",
    [
        altered("cast_manage_existing_snapshot", snapshot=5),
        altered("cast_manage_existing_snapshot", snapshot={"versioned_object.name": "Snapshot"}),
        altered("cast_manage_existing_snapshot").replace(SAMPLE.encode(), b"no-id"),
        b"garbage",
    ],
)
def test_cast_that_names_no_snapshot_of_cinder_owes_nothing(cinder_world: World, body: bytes) -> None:
    publish(cinder_world, body)

    assert owed(cinder_world) == []
