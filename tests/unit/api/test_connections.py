"""A connection whose client has left is closed without a trace."""

import socket

import pytest
from cheroot import wsgi

from snapmanage.api.serving.connections import Connection


def test_connection_closes_its_buffer_when_the_client_left_before_its_answer() -> None:
    ours, client = socket.socketpair()
    connection = Connection(wsgi.Server(("127.0.0.1", 0), None), ours)
    client.close()
    with pytest.raises(BrokenPipeError):
        connection.wfile.write(b"an answer")

    connection.close()

    assert connection.wfile.closed
