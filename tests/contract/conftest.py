"""One laboratory after another, each made for one test."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.contract.labs import LABS, MAKERS, HoldingLab, Lab, LargeLab, SpoilingLab


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
