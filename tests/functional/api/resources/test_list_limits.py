"""Lists at their limits: a client makes a statement neither long nor kept, whatever filters and order it combines."""

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, event

from snapmanage.api import lists
from snapmanage.api.handlers import snapshots, usermessages, volumes
from snapmanage.api.lists import LONGEST_METADATA
from snapmanage.core.lists.paging import MOST_PAIRS, MOST_SORT_KEYS
from tests import examples
from tests.functional.client import fault
from tests.functional.world import World

SHAPES = {"snapshots": snapshots.SHAPE, "volumes/detail": volumes.SHAPE, "messages": usermessages.SHAPE}
# Queries of each list, and the statements that all of them together may add to the cache.
QUERIES = 150
MOST_KEPT = 12
LATEST = "3.71"


def pairs(number: int) -> str:
    return str({str(each): "v" for each in range(number)})


@pytest.mark.parametrize("path", ["snapshots", "snapshots/detail", "volumes", "volumes/detail"])
def test_filter_by_metadata_has_at_most_ten_pairs(shared: World, path: str) -> None:
    fits = shared.client.get(path, params={"metadata": pairs(MOST_PAIRS)})
    beyond = shared.client.get(path, params={"metadata": pairs(MOST_PAIRS + 1)})

    assert (MOST_PAIRS, fits.status_code) == (10, 200)
    assert fault(beyond) == (400, "badRequest", "metadata has 11 pairs; the limit is 10, so send fewer")


@pytest.mark.parametrize(("length", "status"), [(LONGEST_METADATA, 200), (LONGEST_METADATA + 1, 400)])
def test_filter_by_metadata_has_at_most_8192_characters(shared: World, length: int, status: int) -> None:
    text = str({"k": "v" * 10}).ljust(length)

    assert len(text) == length
    assert shared.client.get("volumes", params={"metadata": text}).status_code == status


@pytest.mark.parametrize(
    "text",
    ["[" + "1or 1,\n" * 1000 + "]", "{'a':1if 1else 0}", r"{'a\d':'b'}", r"{'a':'\777'}"],
    ids=["numbers", "number", "escape", "octal"],
)
def test_filter_by_metadata_writes_no_warning_into_the_log(shared: World, text: str) -> None:
    with warnings.catch_warnings(record=True) as written:
        warnings.simplefilter("always")
        answer = shared.client.get("snapshots", params={"metadata": text})

    assert fault(answer)[0] == 400
    assert written == []


@pytest.mark.parametrize(
    "text",
    [
        """{"key": "it's a/b 😀"}""",
        r"""{"key":"it's a\/b \ud83d\ude00"}""",
        r"""{'key':'it\'s a/b 😀',}""",
        r"""{u'key': u"it's a/b \U0001f600"}""",
    ],
    ids=["JSON", "JSON in ASCII", "Python", "Python 2"],
)
def test_filter_by_metadata_is_written_as_json_or_as_python_prints_it(world: World, text: str) -> None:
    world.register_volume("volume-1", metadata={"key": "it's a/b 😀"})

    found = world.client.get("volumes", params={"metadata": text}).json()["volumes"]

    assert len(found) == 1


def test_a_thousand_pairs_are_refused_and_not_called_an_outage(shared: World) -> None:
    answer = shared.client.get("snapshots", params={"metadata": pairs(1200)})

    assert fault(answer)[0] == 400


@pytest.mark.parametrize("path", ["snapshots", "volumes", "messages"])
def test_order_has_at_most_four_keys(shared: World, path: str) -> None:
    keys = list(SHAPES.get(path, volumes.SHAPE).sort_keys)[: MOST_SORT_KEYS + 1]

    fits = shared.client.get(path, version=LATEST, params={"sort": ",".join(keys[:-1])})
    beyond = shared.client.get(path, version=LATEST, params={"sort": ",".join(keys)})

    assert (MOST_SORT_KEYS, fits.status_code) == (4, 200)
    assert fault(beyond) == (400, "badRequest", "sort has 5 keys; the limit is 4, so send fewer")


def test_repeated_key_of_an_order_counts_once(shared: World) -> None:
    assert shared.client.get("snapshots", params={"sort": ",".join(["name:asc", "name"] * 1000)}).status_code == 200


def test_statements_of_lists_are_not_kept_whatever_a_client_combines(shared: World, volume_id: str) -> None:
    chosen = random.Random(13)

    with kept_statements(shared.db.engine) as kept:
        for path, shape in SHAPES.items():
            marker = volume_id if path.startswith("volumes") else None
            for number in range(QUERIES):
                query = combination(chosen, shape, marker if number % 2 else None)
                answer = shared.client.get(path, version=LATEST, params=query)
                assert answer.status_code == 200, answer.text

    assert len(kept) <= MOST_KEPT


def combination(chosen: random.Random, shape: lists.Shape, marker: str | None) -> dict[str, Any]:
    """Return a query with filters, an order and pairs at their limits, in a random form."""
    filters = [name for name in shape.filters if name != "size"]
    exact = {name: "x" for name in filters if chosen.random() < 0.5}
    inexact = {f"{name}~": "x" for name in filters if chosen.random() < 0.5}
    keys = chosen.sample(list(shape.sort_keys), MOST_SORT_KEYS)
    order = ",".join(f"{key}:{chosen.choice(['asc', 'desc'])}" for key in keys)
    metadata = {"metadata": pairs(chosen.randint(0, MOST_PAIRS))} if shape.metadata else {}
    return exact | inexact | metadata | {"sort": order, "with_count": "1"} | ({"marker": marker} if marker else {})


@contextmanager
def kept_statements(engine: Engine) -> Iterator[list[str]]:
    """Record the statements that are compiled for the cache."""
    kept: list[str] = []

    def listen(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if context.compiled is not None and context.cache_hit.name == "CACHE_MISS":
            kept.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield kept
    finally:
        event.remove(engine, "before_cursor_execute", listen)


PLAIN = [dict(zip(("limit", "offset"), values, strict=True)) for values in product(("1", "9"), ("0", "3"))]


@pytest.mark.parametrize("path", SHAPES)
def test_plain_list_is_compiled_once(shared: World, path: str) -> None:
    def list_all(queries: list[Mapping[str, str]]) -> None:
        for query in queries:
            assert shared.client.get(path, version=LATEST, params=query).status_code == 200

    list_all([{}])
    with kept_statements(shared.db.engine) as kept:
        list_all([*PLAIN, {"limit": "1000000"}])

    assert kept == []


@pytest.mark.parametrize("offset", [2**31 - 1, 2**31], ids=examples.parameter_id)
def test_offset_fits_into_every_database(shared: World, offset: int) -> None:
    answer = shared.client.get("snapshots", params={"offset": str(offset)})

    assert answer.status_code == (200 if offset < 2**31 else 400)
    assert offset < 2**31 or "offset must be at most 2147483647" in fault(answer)[2]
