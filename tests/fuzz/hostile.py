"""Hostile input for a reader: damaged bytes, reshaped JSON, any text; and the check of the reader."""

import copy
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

F = TypeVar("F", bound=Callable[..., None])

EXAMPLES = 60
# Wide margins: most inputs take a millisecond and a megabyte.
MOST_SECONDS = 5.0
MOST_MEBIBYTES = 256
# Texts that parsers, terminals, databases and paths treat differently from others.
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "\x1b[2J",
        "\u202e",
        "\ud83d",
        "é",
        "%00",
        "%",
        "'",
        '"',
        "\\",
        "{",
        "[",
        "#",
        "@",
        ",",
        ":",
        "/",
    ),
    *("..", "../x", "nan", "Infinity", "true", "null", "-1", "0", "9" * 30, "9" * 5000, "1e400", "a" * 300, "json:{}"),
)
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(TEXTS)
NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)


def _json(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(NUMBERS) | floats | ANY_TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
        max_leaves=10,
    )


# As Python writes and reads it, with NaN and infinite numbers; and as RFC 8259 defines it.
JSON = _json(st.floats())
FINITE_JSON = _json(st.floats(allow_nan=False, allow_infinity=False))
_REMOVE = object()


def fuzz(*arguments: Any, examples: int = EXAMPLES, **named: Any) -> Callable[[F], Any]:
    """Like `given`, with the same few examples in every run of `make test`."""
    short = settings(
        derandomize=True,
        database=None,
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda check: short(given(*arguments, **named)(check))  # type: ignore[no-untyped-call]


@contextmanager
def bounded(value: object, *declared: type[Exception]) -> Iterator[None]:
    """Check that the body ends soon, with little memory, and with no error but `declared`, for the input `value`."""
    began, memory = time.thread_time(), _peak_mebibytes()
    try:
        yield
    except declared:
        pass
    except Exception as error:
        error.add_note(f"input: {value!r:.2000}")
        raise
    assert time.thread_time() - began < MOST_SECONDS, f"slow: {value!r:.2000}"
    assert _peak_mebibytes() - memory < MOST_MEBIBYTES, f"memory: {value!r:.2000}"


@cache
def scratch(name: str) -> Path:
    """Return an empty folder, the same for each call with this name; it is removed when the process ends."""
    folder = Path(_scratch().name) / name
    folder.mkdir()
    return folder


def damaged(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Return samples with some bytes, numbers and parts changed; now and then any bytes."""
    at = st.integers(0, 4096) | st.integers(0, max(map(len, samples)))
    edits = st.one_of(
        st.tuples(st.just("put"), at, st.binary(min_size=1, max_size=8)),
        st.tuples(
            st.just("put"),
            at,
            st.builds(
                _packed, st.sampled_from(NUMBERS), st.sampled_from((1, 2, 4, 8)), st.sampled_from(("big", "little"))
            ),
        ),
        st.tuples(st.just("insert"), at, st.binary(max_size=16) | st.sampled_from(TEXTS).map(_encoded)),
        st.tuples(st.just("cut"), at, st.binary(max_size=32)),
        st.tuples(st.just("end"), at, st.just(b"")),
        st.tuples(st.just("repeat"), at, st.binary(max_size=32)),
    )
    return st.builds(_edited, st.sampled_from(samples), st.lists(edits, max_size=8)) | st.binary()


def reshaped(*samples: Any) -> st.SearchStrategy[Any]:
    """Return JSON values with some of their parts replaced or removed; now and then any JSON value."""
    changes = st.lists(st.tuples(st.integers(0, 200), JSON | st.just(_REMOVE)), max_size=4)
    return st.builds(_reshaped, st.sampled_from(samples), changes) | JSON


@cache
def _scratch() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="snapmanage-fuzz-")


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _packed(number: int, size: int, order: Literal["big", "little"]) -> bytes:
    return (number & ((1 << 8 * size) - 1)).to_bytes(size, order)


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _edited(sample: bytes, edits: Sequence[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(sample)
    for kind, position, part in edits:
        at = min(position, len(data))
        match kind:
            case "put":
                data[at : at + len(part)] = part
            case "insert":
                data[at:at] = part
            case "cut":
                del data[at : at + len(part)]
            case "repeat":
                data[at:at] = data[at : at + 64] * len(part)
            case "end":
                del data[at:]
    return bytes(data)


def _reshaped(sample: Any, changes: Sequence[tuple[int, Any]]) -> Any:
    whole = {"value": copy.deepcopy(sample)}
    for number, new in changes:
        places = list(_places(whole))
        owner, key = places[number % len(places)]
        if new is not _REMOVE:
            owner[key] = copy.deepcopy(new)
        elif owner is not whole:
            del owner[key]
    return whole["value"]


def _places(owner: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a value inside an object or a list."""
    for key in list(owner) if isinstance(owner, dict) else range(len(owner)):
        yield owner, key
        if isinstance(owner[key], dict | list):
            yield from _places(owner[key])
