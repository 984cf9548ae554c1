"""Pages of records while others are deleted, on every database."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage.core.change import Change
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Volume
from snapmanage.manage import queries, requests
from snapmanage.manage.application import Application
from snapmanage.store import records
from tests import examples
from tests.examples import PROJECT, new_id


def test_page_whose_records_are_deleted_while_it_is_read_is_not_empty(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = [requests.register_volume(app, examples.volume(f"volume-{n}", id=new_id())) for n in range(3)]
    page_sizes = records.page_sizes

    def deleted_after(*arguments: Any) -> Any:
        found = page_sizes(*arguments)
        changes = [Change(each, replace(each, deleted_at=app.db.now())) for each in registered]
        app.db.write(lambda conn, _: records.update(conn, changes, locked=True))
        return found

    monkeypatch.setattr(records, "page_sizes", deleted_after)
    page = queries.list_records(app, Volume, ListQuery(PROJECT, limit=2))

    assert len(page.entries) == 2
    assert page.has_next
    monkeypatch.undo()
    left = queries.list_records(app, Volume, ListQuery(PROJECT)).entries
    assert not {each.id for each in left} & {each.id for each in registered}
