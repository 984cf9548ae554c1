"""A refused batch is written in parts."""

from collections.abc import Sequence

import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from snapmanage import errors
from snapmanage.store.engine import failures
from snapmanage.store.engine.refusals import write_in_parts

AWAY = OperationalError("INSERT", None, ConnectionError("gone"))
QUICKER = IntegrityError("INSERT", None, ValueError("duplicate entry"))
OUT_OF_RANGE = DataError("INSERT", None, ValueError("out of range"))


class Table:
    """A table that refuses a batch with the item `bad`, and records the other batches."""

    def __init__(self, error: Exception, bad: str = "bad") -> None:
        self.error = error
        self.bad = bad
        self.written: list[list[str]] = []
        self.refused: list[str] = []

    def write(self, batch: Sequence[str]) -> str:
        if self.bad in batch:
            raise self.error
        self.written.append(list(batch))
        return "written"

    def refuse(self, item: str, error: Exception) -> str:
        assert error is self.error
        self.refused.append(item)
        return "refused"


def test_valid_batch_is_written_in_one_part() -> None:
    table = Table(OUT_OF_RANGE)

    assert write_in_parts(["a", "b"], table.write, table.refuse) == ["written"]
    assert table.written == [["a", "b"]]


@pytest.mark.parametrize(
    "error", [OUT_OF_RANGE, OverflowError(), ValueError(), errors.AlreadyManaged("it is managed")], ids=repr
)
def test_each_item_of_a_refused_batch_is_written_alone(error: Exception) -> None:
    table = Table(error)

    assert write_in_parts(["a", "bad", "b"], table.write, table.refuse) == ["written", "refused", "written"]
    assert (table.written, table.refused) == ([["a"], ["b"]], ["bad"])


@pytest.mark.parametrize("error", [AWAY, QUICKER, errors.Unavailable("the bus is away")], ids=repr)
def test_error_that_a_retry_may_cure_is_raised(error: Exception) -> None:
    table = Table(error)

    with pytest.raises(type(error)):
        write_in_parts(["a", "bad"], table.write, table.refuse)
    assert (table.written, table.refused) == ([], [])


def test_integrity_error_is_a_refusal_if_only_an_unavailable_database_is_retried() -> None:
    table = Table(QUICKER)

    assert write_in_parts(["bad", "b"], table.write, table.refuse, failures.may_pass) == ["refused", "written"]
