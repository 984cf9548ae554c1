"""A consumer has room for a number of messages, and for a number of bytes."""

from types import SimpleNamespace
from typing import Any

import pytest

from snapmanage.bus.rabbit.arrived import MOST_BYTES, ArrivedMessages


def message(size: int) -> Any:
    return SimpleNamespace(body=b"x" * size)


@pytest.mark.parametrize(
    ("sizes", "full", "heavy"),
    [
        ([1, 1], False, False),
        ([1, 1, 1], True, False),
        ([MOST_BYTES - 1], False, False),
        ([MOST_BYTES], True, True),
        ([1, MOST_BYTES - 1], True, True),
    ],
)
def test_room_ends_at_the_prefetch_or_at_the_bytes(sizes: list[int], full: bool, heavy: bool) -> None:
    arrived = ArrivedMessages(prefetch=3)

    for size in sizes:
        arrived.add(message(size))

    assert (arrived.full, arrived.heavy) == (full, heavy)


def test_handled_batch_makes_room() -> None:
    arrived, later = ArrivedMessages(prefetch=3), message(1)
    arrived.add(message(MOST_BYTES))
    batch = arrived.batch()
    arrived.add(later)

    arrived.remove(batch)

    assert arrived.batch() == [later]
    assert not arrived.heavy


def test_message_without_a_body_takes_no_bytes() -> None:
    arrived = ArrivedMessages(prefetch=3)

    arrived.add(SimpleNamespace(body=None))

    assert (len(arrived), arrived.heavy) == (1, False)
