"""The parser gives the same answer however the bytes arrive, and its time grows with their number only."""

import itertools
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from snapmanage.api.serving.parser import LARGEST_HEAD, MOST_HEADERS, LargeBodies, StrictParser
from snapmanage.api.serving.refusals import Refusal

LARGEST_BODY = 100
LARGEST_BATCH = 1000
END = b"\r\n\r\n"
GOOD = b"POST /v3?a=b HTTP/1.1\r\nHost: x\r\nAccept: a\r\nContent-Length: 4\r\nACCEPT:b \t\r\nX_Y: z\r\n\r\nbody"


def parsed(*parts: bytes) -> StrictParser:
    """Return a parser that has received bytes in parts."""
    adjustments = Adjustments(max_request_body_size=LARGEST_BATCH + 1)
    adjustments.largest_body = LARGEST_BODY
    adjustments.large_bodies = LargeBodies(("/batch",), LARGEST_BATCH)
    parser = StrictParser(adjustments)
    for part in parts:
        while part and not parser.completed:
            part = part[parser.received(part) :]
    return parser


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def refusal(parser: StrictParser) -> Refusal:
    assert isinstance(parser.error, Refusal)
    return parser.error


def test_request_is_complete_with_its_last_byte() -> None:
    assert not parsed(*one_by_one(GOOD[:-1])).completed

    parser = parsed(*one_by_one(GOOD))

    assert parser.completed
    assert parser.get_body_stream().read() == b"body"
    assert parser.headers == {"HOST": "x", "ACCEPT": "a, b", "CONTENT_LENGTH": "4"}


@given(st.lists(st.integers(0, len(GOOD))))
def test_request_is_the_same_in_any_parts(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(GOOD)]
    parts = [GOOD[start:end] for start, end in itertools.pairwise(bounds)]

    parser = parsed(*parts)

    assert parser.completed
    assert parser.get_body_stream().read() == b"body"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\n",
        b"\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\n",
        b"GET / HTTP/1.1\r\nHost: x\rA",
        b"GET / HTTP/1.1\r\nHost: x\r\n y",
        b"GET / HTTP/1.1\r\nHost: \0",
    ],
    ids=["TLS", "line end", "first line end", "line end of a header", "half a line end", "folded header", "NUL"],
)
def test_malformed_head_is_refused_before_its_end(data: bytes) -> None:
    assert refusal(parsed(data)).status == 400
    assert refusal(parsed(*one_by_one(data))).status == 400


def test_head_without_an_end_is_refused_at_the_limit() -> None:
    line = b"GET / HTTP/1.1\r\n"

    assert not parsed(line + b"X: " + b"x" * (LARGEST_HEAD - 100)).completed
    assert refusal(parsed(line + b"X: " + b"x" * LARGEST_HEAD)).status == 413
    assert refusal(parsed(b"GET /" + b"x" * LARGEST_HEAD)).status == 414


@pytest.mark.parametrize("end", [[END], one_by_one(END)], ids=["whole end", "byte by byte"])
def test_head_at_the_limit_is_read_and_one_byte_more_is_refused(end: list[bytes]) -> None:
    start = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
    largest = start + b"x" * (LARGEST_HEAD - len(start))

    assert parsed(largest, *end).error is None
    assert refusal(parsed(largest + b"x", *end)).status == 413


def test_head_has_at_most_a_hundred_headers() -> None:
    headers = b"".join(b"X-%d: x\r\n" % number for number in range(MOST_HEADERS - 1))
    fits = b"GET / HTTP/1.1\r\nHost: x\r\n" + headers

    assert parsed(fits + b"\r\n").error is None
    assert refusal(parsed(fits + b"X: x\r\n\r\n")).status == 413


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/a/batch", LARGEST_BATCH, None),
        ("/a/batch/?b=c", LARGEST_BATCH, None),
        ("/a/batch", LARGEST_BATCH + 1, 413),
        ("/a/batch/b", LARGEST_BODY + 1, 413),
        ("/a?b=/batch", LARGEST_BODY + 1, 413),
        ("/a%2Fbatch", LARGEST_BODY + 1, 413),
    ],
)
def test_only_a_batch_may_have_a_larger_body(path: str, size: int, status: int | None) -> None:
    parser = parsed(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())

    assert (refusal(parser).status if parser.error else None) == status


@pytest.mark.parametrize(("size", "status"), [(LARGEST_BODY, None), (LARGEST_BODY + 1, 413)])
def test_body_beyond_the_limit_is_refused_before_it_arrives(size: int, status: int | None) -> None:
    parser = parsed(f"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n".encode())

    assert parser.error is None if status is None else refusal(parser).status == status
    assert parser.expect_continue is (status is None)


def test_request_without_a_body_ends_with_its_head_though_it_expects_100_continue() -> None:
    parser = parsed(b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")

    assert (parser.completed, parser.expect_continue) == (True, False)


def test_blanks_in_a_header_cost_no_time() -> None:
    started = time.monotonic()

    parser = parsed(b"GET / HTTP/1.1\r\nHost: x\r\nX:" + b" " * (LARGEST_HEAD - 100) + b"a\r\n\r\n")

    assert parser.headers["X"] == "a"
    assert time.monotonic() - started < 5  # waitress' own expression takes more than a minute


def test_two_empty_lines_before_a_request_are_refused() -> None:
    assert parsed(b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").error is None
    assert refusal(parsed(b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")).status == 400
    assert refusal(parsed(b" GET / HTTP/1.1\r\nHost: x\r\n\r\n")).status == 400


URL, HEADER = b"POST /?%b HTTP/1.1\r\nHost: x", b"POST / HTTP/1.1\r\nHost: x\r\nX: %b"


@pytest.mark.parametrize("line", [URL, HEADER], ids=["URL", "header"])
@pytest.mark.parametrize("is_refused", [False, True], ids=["waiting", "refused"])
def test_head_takes_two_times_its_bytes_and_nothing_once_refused(line: bytes, is_refused: bool) -> None:
    head = line % (b"x" * (LARGEST_HEAD - 100)) + b"\r\nContent-Length: 99\r\n\r\n"

    with traced_memory() as taken:
        parser = parsed(head[:-10], head[-10:], b"body")
        if is_refused:
            parser.refuse(Refusal(503, "Too much."))
        memory = taken()

    assert parser.held_bytes == (0 if is_refused else len(head) + len(b"body"))
    assert memory < (5000 if is_refused else 2.1 * len(head))


def test_body_takes_no_memory_once_refused() -> None:
    part = b"x" * 10_000
    parser = StrictParser(Adjustments())
    parser.received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")

    with traced_memory() as taken:
        for _ in range(9):
            parser.received(part)
        assert taken() > 9 * len(part)

        parser.refuse(Refusal(503, "Too much."))
        assert taken() < 5000


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Give a function that returns the bytes of the memory taken meanwhile, without the standard library's caches."""

    def taken() -> int:
        urllib.parse.clear_cache()  # type: ignore[attr-defined]
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        yield taken
    finally:
        tracemalloc.stop()
