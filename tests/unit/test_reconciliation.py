"""Comparing records with a backend, when nothing is under way."""

from dataclasses import replace

import pytest

from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reconciliation import Kind, differences, settled
from snapmanage.core.records import Operation, Snapshot, Status
from tests import examples

IDENTITY = "uuid-1"


def managed(**fields: object) -> Snapshot:
    known = {"status": Status.AVAILABLE, "backend_id": IDENTITY, "backend_name": "snapshot-1", "original_name": "daily"}
    return examples.snapshot(**{"id": examples.new_id()} | known | fields)


def test_records_that_agree_with_the_backend_are_not_told_of() -> None:
    assert differences([managed()], [examples.found("snapshot-1", identity=IDENTITY)]) == []


def test_what_is_gone_has_vanished_whatever_bears_its_name_now() -> None:
    [difference] = differences([managed()], [examples.found("snapshot-1", identity="another")])

    assert (difference.kind, difference.binding) == (Kind.VANISHED, None)


def test_what_bears_another_name_was_renamed_and_could_get_its_name_back() -> None:
    [difference] = differences([managed()], [examples.found("mine", identity=IDENTITY)])

    assert (difference.kind, difference.binding) == (Kind.RENAMED, Binding(IDENTITY, "mine", "snapshot-1"))


def test_object_of_two_records_is_managed_twice() -> None:
    first, second = managed(), managed()

    [difference] = differences([first, second], [examples.found("snapshot-1", identity=IDENTITY)])

    assert (difference.kind, difference.snapshot) == (Kind.TWICE, second)
    assert first.id in difference.text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], [Kind.VANISHED]),
        ([examples.found("mine", identity=IDENTITY)], [Kind.RENAMED]),
        ([examples.found("snapshot-1", identity=IDENTITY)], []),
    ],
    ids=["gone", "renamed", "as it was"],
)
def test_what_could_not_be_given_back_is_ours_and_told_of_but_gets_no_name_back(
    found: list[BackendSnapshot], told: list[Kind]
) -> None:
    failed = managed(status=Status.ERROR, operation=Operation.UNMANAGE)

    seen = differences([failed], found)

    assert [each.kind for each in seen] == told
    assert [each.binding for each in seen if each.binding] == []


@pytest.mark.parametrize("status", [Status.ERROR, Status.DELETED])
def test_object_that_bears_the_managed_name_of_a_record_that_does_not_manage_it_is_unowned(status: Status) -> None:
    [difference] = differences([managed(status=status)], [examples.found("snapshot-1", identity=IDENTITY)])

    assert difference.kind is Kind.UNOWNED


def test_object_that_another_record_manages_by_now_is_owned() -> None:
    given_back = managed(status=Status.DELETED)

    assert differences([given_back, managed()], [examples.found("snapshot-1", identity=IDENTITY)]) == []


def test_object_that_has_its_old_name_back_is_nobody_s() -> None:
    assert differences([managed(status=Status.DELETED)], [examples.found("daily", identity=IDENTITY)]) == []


def test_only_what_did_not_move_meanwhile_can_be_compared() -> None:
    still, moved, new = managed(), managed(), managed()
    under_way = managed(status=Status.UNMANAGING)

    after = [still, replace(moved, generation=moved.generation + 1), new, under_way]

    assert settled([still, moved, under_way], after) == [still]
