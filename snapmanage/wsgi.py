"""`snapmanage.wsgi:application`, the REST API for any WSGI server.

Configuration is read, and connections are made, with the first request: after the server has forked.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any


@cache
def _application() -> Any:
    from snapmanage.cmd import api

    return api.application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    answered: Iterable[bytes] = _application()(environ, start_response)
    return answered
