"""A relay sends messages of every project in each batch, however many one of them has."""

import threading

import pytest

from snapmanage.core.outbox import Kind, Message
from snapmanage.relay import FreshMessages
from snapmanage.testing.waiting import until


def messages(project: str, count: int) -> list[Message]:
    ids = [f"{project}{number}" for number in range(count)]
    return [
        Message(each, Kind.CAST, each, "h@b", "manage_snapshot", {}, context={"project_id": project}) for each in ids
    ]


def taken(fresh: FreshMessages, most: int = 100) -> list[str]:
    return [message.id for message in fresh.take(most, 0)]


@pytest.fixture
def fresh() -> FreshMessages:
    return FreshMessages(6)


def test_message_of_another_project_is_in_the_next_batch(fresh: FreshMessages) -> None:
    fresh.add(messages("a", 5))
    assert taken(fresh, 2) == ["a0", "a1"]
    fresh.add(messages("b", 1))

    assert sorted(taken(fresh, 2)) == ["a2", "b0"]
    assert taken(fresh) == ["a3", "a4"]


def test_messages_of_a_project_keep_their_order(fresh: FreshMessages) -> None:
    fresh.add([*messages("a", 3), *messages("b", 2)])

    assert taken(fresh) == ["a0", "b0", "a1", "b1", "a2"]
    assert len(fresh) == 0


def test_project_with_most_messages_loses_its_newest_when_memory_is_full(fresh: FreshMessages) -> None:
    fresh.add(messages("a", 9))
    assert len(fresh) == 6
    fresh.add(messages("b", 2))

    assert (len(fresh), sorted(taken(fresh))) == (6, ["a0", "a1", "a2", "a3", "b0", "b1"])


def test_cleared_messages_are_gone(fresh: FreshMessages) -> None:
    fresh.add(messages("a", 2))
    fresh.clear()

    assert (len(fresh), taken(fresh)) == (0, [])


def test_nothing_waits_after_the_end(fresh: FreshMessages) -> None:
    found: list[list[Message]] = []
    waiting = threading.Thread(target=lambda: found.append(fresh.take(1, 60)), daemon=True)
    waiting.start()

    fresh.close()

    until(lambda: not waiting.is_alive(), "the thread to end")
    assert found == [[]]
    assert fresh.take(1, 60) == []
