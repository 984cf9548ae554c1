"""A small upstream API, and a client of it."""

from collections.abc import Callable, Iterator

import pytest
from keystoneauth1.session import Session

from snapmanage.upstream.client import UpstreamClient, http_session
from tests.services.upstream import SmallUpstream, small_upstream


@pytest.fixture
def upstream() -> Iterator[SmallUpstream]:
    with small_upstream() as made:
        yield made


@pytest.fixture
def make_client() -> Iterator[Callable[[str], UpstreamClient]]:
    """Return a function that makes a client of an endpoint."""
    with http_session(4) as session:
        yield lambda endpoint: UpstreamClient(endpoint, Session(session=session), False, 2.0)


@pytest.fixture
def client(upstream: SmallUpstream, make_client: Callable[[str], UpstreamClient]) -> UpstreamClient:
    return make_client(upstream.endpoint)
