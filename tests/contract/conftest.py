"""Laboratories, each made for one test."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from snapmanage.drivers.cinder.driver import CinderDriver
from tests.contract.labs import LABS, MAKERS, HoldingLab, Lab, LargeLab, SpoilingLab
from tests.contract.labs.cinder import cinder_lvm, cinder_rbd
from tests.services.ceph import Ceph
from tests.services.lvm_metadata import MetadataGroup


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with MAKERS[request.param](request, tmp_path) as made:
        yield made


@pytest.fixture
def holding_lab(lab: Lab) -> HoldingLab:
    return cast(HoldingLab, lab)


@pytest.fixture
def spoiling_lab(lab: Lab) -> SpoilingLab:
    return cast(SpoilingLab, lab)


@pytest.fixture
def large_lab(lab: Lab) -> LargeLab:
    return cast(LargeLab, lab)


@pytest.fixture(scope="session")
def cinder_of_lvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MetadataGroup, CinderDriver]]:
    with cinder_lvm(tmp_path_factory.mktemp("cinder-lvm")) as made:
        yield made


@pytest.fixture(scope="session")
def cinder_of_rbd(ceph: Ceph) -> Iterator[tuple[Ceph, str, CinderDriver]]:
    with cinder_rbd(ceph) as made:
        yield made
