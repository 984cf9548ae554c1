"""Answers in pieces that a client does not read: they hold no thread, and have a bound."""

from contextlib import suppress

import pytest

from snapmanage.api.serving.channels import MOST_UNSENT_OF_ONE
from snapmanage.api.serving.server import HttpServer
from tests.functional.api.serving.applications import PIECE_BYTES, in_pieces
from tests.functional.api.serving.raw import RawAnswer, connected, request, rest_of, sent

MOST_PIECES = MOST_UNSENT_OF_ONE // PIECE_BYTES


def ask(pieces: int) -> bytes:
    return request("POST /", f"Content-Length: {pieces}", body="x" * pieces)


@pytest.mark.parametrize(("pieces", "is_complete"), [(MOST_PIECES, True), (2 * MOST_PIECES, False)])
def test_unread_answer_of_16_mib_waits_for_its_client_and_a_larger_one_is_cut(pieces: int, is_complete: bool) -> None:
    with HttpServer("127.0.0.1", 0, threads=1) as server, connected(server.address) as client:
        server.start(in_pieces, 100)
        client.sendall(ask(pieces))

        other = RawAnswer.of(sent(server.address, ask(1)))  # behind the first, on the only thread

        received = b""
        with suppress(ConnectionError):
            received = rest_of(client)
        assert len(other.body) == PIECE_BYTES
        assert (len(received) > pieces * PIECE_BYTES) is is_complete
