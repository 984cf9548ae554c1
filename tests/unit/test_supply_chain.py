"""The dependencies: no lower bound admits a known security hole, and constraints.txt pins each with its hashes."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.unit.test_project_files import EXTRAS, bounds, requirements, setup_cfg

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / "constraints.txt").read_text()
# The first version that has none of the published holes, and the newest of these. Holes without a fixed version, and
# holes of functions that no process of snapmanage calls, count too: a scanner reports them.
FIRST_WITHOUT_HOLES = {
    "cryptography": ("46.0.6", "CVE-2026-34073"),
    "keystonemiddleware": ("10.12.1", "CVE-2026-22797"),
    "orjson": ("3.11.6", "CVE-2025-67221"),
    "oslo-utils": ("4.12.1", "CVE-2022-0718"),
    "pymysql": ("1.1.1", "CVE-2024-36039"),
    "pyyaml": ("5.4", "CVE-2020-14343"),
    "requests": ("2.33.0", "CVE-2026-25645"),
    "sqlalchemy": ("1.3.0", "CVE-2019-7548"),
    "waitress": ("3.0.1", "CVE-2024-49769"),
    "webob": ("1.8.8", "CVE-2024-42353"),
}


def pins() -> dict[str, tuple[Version, list[str]]]:
    """Return the version and the hashes of each pinned package; markers restrict some pins to a Python version."""
    found = re.findall(r"^([\w.\[\]-]+)==([^\s;]+)([^\n]*(?:\n    [^\n]*)*)", PINNED, re.MULTILINE)
    return {
        canonicalize_name(Requirement(name).name): (Version(version), re.findall(r"--hash=(\S+)", rest))
        for name, version, rest in found
    }


def direct_dependencies() -> dict[str, Requirement]:
    lines = [(ROOT / "requirements.txt").read_text(), *(setup_cfg()["extras"][name] for name in EXTRAS)]
    return requirements("\n".join(lines))


@pytest.mark.parametrize("name", sorted(bounds().keys() & FIRST_WITHOUT_HOLES.keys()))
def test_lower_bound_of_a_dependency_admits_no_known_hole(name: str) -> None:
    first, hole = FIRST_WITHOUT_HOLES[name]

    assert Version(bounds()[name]) >= Version(first), f"older versions have {hole}"


@pytest.mark.parametrize("name", sorted(direct_dependencies()))
def test_each_dependency_is_pinned_to_a_version_that_its_bounds_admit(name: str) -> None:
    version, _ = pins()[name]

    assert direct_dependencies()[name].specifier.contains(version), "run make constraints"


def test_each_pinned_package_has_the_hashes_of_its_files() -> None:
    without = [name for name, (_, hashes) in pins().items() if not hashes]

    assert without == []
    assert {each.partition(":")[0] for _, hashes in pins().values() for each in hashes} == {"sha256"}


def test_constraints_name_no_package_index() -> None:
    assert re.findall(r"index-url|find-links|https?://", PINNED) == []
