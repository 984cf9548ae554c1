"""Any other Block Storage API: a world without the additions of snapmanage."""

from collections.abc import Callable, Iterable
from typing import Any


def plain(application: Any) -> Callable[..., Iterable[bytes]]:
    """Hide the additions of snapmanage from clients, so that the service is like any other Block Storage API."""

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        environ.pop("HTTP_IDEMPOTENCY_KEY", None)
        if versions := environ.get("HTTP_OPENSTACK_API_VERSION"):
            environ["HTTP_OPENSTACK_API_VERSION"] = versions.partition(", snapmanage")[0]
        if environ["PATH_INFO"].endswith("/openapi.json"):
            environ["PATH_INFO"] = "/nowhere"
        found: Iterable[bytes] = application(environ, start)
        return found

    return serve
