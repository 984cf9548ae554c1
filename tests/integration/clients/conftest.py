"""A service that all clients share; each test has a volume of its own in it."""

from collections.abc import Iterator

import pytest

from tests.integration.clients.service import Service


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("standalone"))
    try:
        yield running
    finally:
        running.daemon.close()


@pytest.fixture
def disk(service: Service) -> str:
    return service.add_volume()
