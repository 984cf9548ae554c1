"""User messages."""

from dataclasses import replace
from typing import Any

from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.usermessages import UserMessage
from snapmanage.store import usermessages
from snapmanage.store.engine.database import Database
from tests.examples import NOW, PROJECT, new_id
from tests.functional.store.rows import SECOND, TEXTS


def user_message(**fields: Any) -> UserMessage:
    made = UserMessage(new_id(), PROJECT, "VOLUME_SNAPSHOT", new_id(), None, "E", "ERROR", TEXTS[0], NOW)
    return replace(made, **fields)


def test_user_messages_are_listed_newest_first_and_by_project(database: Database) -> None:
    old, new, theirs = user_message(), user_message(created_at=NOW + SECOND), user_message(project_id="another")
    database.write(lambda conn, _: usermessages.add(conn, [old, new, theirs]))

    with database.read() as conn:
        assert usermessages.list_page(conn, ListQuery(PROJECT)) == [new, old]
        assert usermessages.list_page(conn, ListQuery(PROJECT, marker=new.id)) == [old]
        assert usermessages.list_page(conn, ListQuery(PROJECT, {"resource_id": old.resource_id})) == [old]
        assert usermessages.get(conn, PROJECT, theirs.id) is None
