"""Edits of records, on every database, while other clients edit the same records."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.edits import Edit
from snapmanage.core.records import Snapshot, Status, Volume
from snapmanage.core.values.metadata import MOST_PAIRS
from snapmanage.manage import edits
from snapmanage.manage.application import Application
from snapmanage.store import records
from snapmanage.store.engine import database as transactions
from tests import examples
from tests.examples import PROJECT, VOLUME_ID, new_id
from tests.functional.databases import ON_SERVERS

ALL_AT_ONCE = 8


def rename(app: Application, snapshot_id: str, name: str = "new") -> Snapshot:
    return edits.edit(app, Snapshot, snapshot_id, PROJECT, Edit(texts={"name": name}, added={"tier": "gold"}))


@pytest.fixture
def snapshot_id(app: Application) -> str:
    """Return the id of an available snapshot."""
    made = examples.snapshot(id=new_id(), status=Status.AVAILABLE, metadata={"kept": "v"})
    app.db.write(lambda conn, _: records.insert(conn, made))
    return made.id


def test_edit_is_stored(app: Application, snapshot_id: str) -> None:
    returned = rename(app, snapshot_id)

    with app.db.read() as conn:
        stored = records.get(conn, Snapshot, snapshot_id)
    assert stored == returned
    assert (returned.name, returned.metadata) == ("new", {"kept": "v", "tier": "gold"})


def test_edit_leaves_the_fence_alone(app: Application, snapshot_id: str) -> None:
    with app.db.read() as conn:
        before = records.get(conn, Snapshot, snapshot_id)

    after = rename(app, snapshot_id)

    assert before is not None
    assert (after.fence, after.generation, after.due_at) == (before.fence, before.generation, before.due_at)


@pytest.mark.parametrize("project_id", ["another", ""])
def test_record_of_another_project_is_not_found(app: Application, snapshot_id: str, project_id: str) -> None:
    with pytest.raises(errors.SnapshotNotFound):
        edits.edit(app, Snapshot, snapshot_id, project_id, Edit(texts={"name": "stolen"}))
    with pytest.raises(errors.VolumeNotFound):
        edits.edit(app, Volume, VOLUME_ID, project_id, Edit(texts={"name": "stolen"}))


def test_administrator_edits_the_records_of_every_project(app: Application, snapshot_id: str) -> None:
    assert edits.edit(app, Snapshot, snapshot_id, None, Edit(texts={"name": "new"})).name == "new"


@pytest.mark.parametrize("blanks", ["", " "])
def test_tombstone_and_odd_id_are_not_found(app: Application, blanks: str) -> None:
    status, deleted_at = (Status.AVAILABLE, None) if blanks else (Status.DELETED, examples.NOW)
    made = examples.snapshot(id=new_id(), status=status, deleted_at=deleted_at)
    app.db.write(lambda conn, _: records.insert(conn, made))

    with pytest.raises(errors.SnapshotNotFound):
        rename(app, made.id + blanks)


def test_refused_edit_writes_nothing(app: Application, snapshot_id: str) -> None:
    with pytest.raises(errors.NotFound):
        edits.edit(app, Snapshot, snapshot_id, PROJECT, Edit(texts={"name": "new"}, removed="missing"))

    with app.db.read() as conn:
        stored = records.get(conn, Snapshot, snapshot_id)
    assert stored is not None
    assert stored.name is None


def at_once(act: Callable[[int], Any]) -> list[Any]:
    """Act in threads that begin together; return the results, and errors of snapmanage in place of results."""
    together = threading.Barrier(ALL_AT_ONCE, timeout=20)

    def begin(number: int) -> Any:
        together.wait()
        try:
            return act(number)
        except errors.SnapmanageError as refused:
            return refused

    with ThreadPoolExecutor(ALL_AT_ONCE) as pool:
        return list(pool.map(begin, range(ALL_AT_ONCE)))


def test_pairs_that_clients_add_at_once_add_up(app: Application, snapshot_id: str) -> None:
    for round_ in range(3):
        at_once(
            lambda number, round_=round_: edits.edit(  # type: ignore[misc]
                app, Snapshot, snapshot_id, PROJECT, Edit(added={f"{round_}-{number}": "v"})
            )
        )

    with app.db.read() as conn:
        stored = records.get(conn, Snapshot, snapshot_id)
    assert stored is not None
    assert len(stored.metadata) == 1 + 3 * ALL_AT_ONCE


@ON_SERVERS
def test_clients_that_add_pairs_at_once_do_not_exceed_the_limit(
    app: Application, snapshot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "repeatable", lambda error: False)  # they wait for the row, without a deadlock
    filled = {f"{number}": "v" for number in range(MOST_PAIRS - 3)}
    edits.edit(app, Snapshot, snapshot_id, PROJECT, Edit(metadata=filled))

    answers = at_once(
        lambda number: edits.edit(app, Snapshot, snapshot_id, PROJECT, Edit(added={f"new {number}": "v"}))
    )

    refused = [each for each in answers if isinstance(each, errors.InvalidRequest)]
    assert len(refused) == ALL_AT_ONCE - 3
    with app.db.read() as conn:
        stored = records.get(conn, Snapshot, snapshot_id)
    assert stored is not None
    assert len(stored.metadata) == MOST_PAIRS
