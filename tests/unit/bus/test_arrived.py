"""A consumer has room for a number of messages and of bytes; its batches shrink after a failure."""

from types import SimpleNamespace
from typing import Any

import pytest

from snapmanage.bus.rabbit.arrived import MOST_BYTES, ArrivedMessages, BatchSize


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
    batch = arrived.batch(3)
    arrived.add(later)

    arrived.remove(batch)

    assert arrived.batch(3) == [later]
    assert not arrived.heavy


def test_message_without_a_body_takes_no_bytes() -> None:
    arrived = ArrivedMessages(prefetch=3)

    arrived.add(SimpleNamespace(body=None))

    assert (len(arrived), arrived.heavy) == (1, False)


def test_batch_is_the_first_part_of_the_messages() -> None:
    arrived, first, second = ArrivedMessages(prefetch=3), message(1), message(2)
    arrived.add(first)
    arrived.add(second)

    assert arrived.batch(1) == [first]


def test_batches_shrink_to_a_single_message_while_they_fail() -> None:
    size, sizes = BatchSize(200), list[int]()

    for _ in range(9):
        size.after_failure(size.messages)
        sizes.append(size.messages)

    assert sizes == [100, 50, 25, 12, 6, 3, 1, 1, 1]


def test_failed_batch_with_few_messages_is_halved_at_once() -> None:
    size = BatchSize(200)

    size.after_failure(8)

    assert size.messages == 4


def test_batches_grow_again_up_to_the_prefetch_while_they_are_quick() -> None:
    size = BatchSize(200)
    size.after_failure(100)

    size.after_success(quick=False)
    slow = size.messages
    for _ in range(3):
        size.after_success(quick=True)

    assert (slow, size.messages) == (50, 200)
