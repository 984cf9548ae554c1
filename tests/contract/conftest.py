"""Laboratories, each made for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.testing.lab import Lab
from snapmanage.testing.selection import needed
from snapmanage.testing.services.lvm_metadata import MetadataGroup
from snapmanage.testing.services.storage.ceph import Ceph
from tests.contract.labs import ACTIVE, CLASSES, MAKERS, labs_with
from tests.contract.labs.cinder import cinder_lvm, cinder_rbd

pytest.register_assert_rewrite("snapmanage.testing.contract")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that needs capabilities on the laboratories that have them."""
    capabilities, active = needed(metafunc.definition), metafunc.definition.get_closest_marker("active")
    if capabilities or active:
        names = [name for name in labs_with(*capabilities) if name in ACTIVE or not active]
        metafunc.definition.add_marker(pytest.mark.parametrize("lab", names, indirect=True))


@pytest.fixture(params=CLASSES)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with MAKERS[request.param](request, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def cinder_of_lvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MetadataGroup, CinderDriver]]:
    with cinder_lvm(tmp_path_factory.mktemp("cinder-lvm")) as made:
        yield made


@pytest.fixture(scope="session")
def cinder_of_rbd(ceph: Ceph) -> Iterator[tuple[Ceph, str, CinderDriver]]:
    with cinder_rbd(ceph) as made:
        yield made
