"""A service that all clients share; each test has a volume of its own in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients.service import Service
from tests.services.client_programs import for_a_shell


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


@pytest.fixture(scope="package")
def programs() -> Iterator[Path]:
    """Yield a folder from which a shell starts the clients as warm processes."""
    with for_a_shell() as folder:
        yield folder
