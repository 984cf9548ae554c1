"""`snapmanage.wsgi:application`, the REST API for any WSGI server.

Configuration is read, and connections are made, with the first request: after the server has forked.
"""

import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

__all__ = ["application"]

_building = threading.Lock()


@cache
def _application() -> Any:
    from snapmanage.cmd import api

    return api.application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    with _building:  # the first requests may come at once, and shall not each build one
        built = _application()
    answered: Iterable[bytes] = built(environ, start_response)
    return answered
