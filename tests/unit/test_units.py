"""The units of systemd and the Debian packages agree with the code and are hardened as their page says."""

import re
import subprocess
from pathlib import Path

import pytest

from snapmanage.testing import needs
from tests.unit.test_project_files import setup_cfg

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PAGE = (ROOT / "docs" / "how-to" / "packages.md").read_text()
LARGEST_SCORE = 2.0
# sudo, which starts the helper as root, allows fewer settings.
SCORE_OF_VOLUME = 8.5


def program_of(unit: Path) -> str:
    started = re.search(r"^ExecStart=/opt/snapmanage/bin/(\S+)", unit.read_text(), re.MULTILINE)
    assert started, f"{unit} starts no program of /opt/snapmanage"
    return started[1]


def score(unit: Path) -> float:
    shown = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown.stdout)
    assert found, shown.stdout
    return float(found[1])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_starts_a_command_of_the_package(unit: Path) -> None:
    commands = re.findall(r"^(\S+) =", setup_cfg()["entry_points"]["console_scripts"], re.MULTILINE)

    assert program_of(unit) in commands


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_each_unit(unit: Path, tmp_path: Path) -> None:
    needs.require("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(f"/opt/snapmanage/bin/{program_of(unit)}", "/bin/true"))

    ended = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)

    assert (ended.returncode, [line for line in ended.stderr.splitlines() if unit.name in line]) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_hardened_as_its_page_says(unit: Path) -> None:
    needs.require("systemd-analyze")

    found = score(unit)

    assert found <= (SCORE_OF_VOLUME if unit.stem == "snapmanage-volume" else LARGEST_SCORE)
    assert f"| {found} |" in PAGE


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_secrets_reach_a_process_through_systemd_only(unit: Path) -> None:
    text = unit.read_text()

    assert "LoadCredential=secrets.conf:/etc/snapmanage/secrets.conf\n" in text
    assert "--config-file ${CREDENTIALS_DIRECTORY}/secrets.conf" in text


def test_each_process_has_a_unit_in_a_package() -> None:
    packaged = {path.resolve() for path in (ROOT / "debian").glob("*.service")}
    listed = (ROOT / "debian" / "snapmanage-common.install").read_text()

    assert {unit for unit in UNITS if f"deploy/systemd/{unit.name}" not in listed} == packaged


def test_page_lists_each_package() -> None:
    control = (ROOT / "debian" / "control").read_text()

    for package in re.findall(r"^Package: (\S+)", control, re.MULTILINE):
        assert f"`{package}`" in PAGE
