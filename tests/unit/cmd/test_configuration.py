"""A driver with `takes_section` receives its whole section of the configuration files."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from oslo_config import cfg

from snapmanage import conf
from snapmanage.cmd.wiring import configuration
from snapmanage.drivers.protocol import Section


class SectionDriver:
    """A driver with one option, which also takes its section."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [cfg.StrOpt("color")]

    def __init__(self, color: str, section: Section) -> None:
        self.color = color
        self.section = section


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configuration, "driver_class", lambda section, name: SectionDriver)
    first, second, folder = tmp_path / "first.conf", tmp_path / "second.conf", tmp_path / "more.conf.d"
    folder.mkdir()
    first.write_text("[DEFAULT]\nenabled_backends = array\nsecret = x\n[array]\ndriver = curious\ntarget = one\n")
    second.write_text("[array]\ntarget = two\ncolor = red\n[other]\ntarget = none\n")
    (folder / "third.conf").write_text("[array]\nsan-ip = 10.0.0.1\nlines = a\n  b\n")
    return tmp_path


def make_driver(files: Path) -> SectionDriver:
    loaded = cfg.ConfigOpts()
    conf.register(loaded)
    named = [str(files / "first.conf"), str(files / "second.conf")]
    loaded([], default_config_files=named, default_config_dirs=[str(files / "more.conf.d")])
    [(_, driver, _)] = configuration.backends(loaded).values()
    assert isinstance(driver, SectionDriver)
    return driver


def test_section_has_all_its_options_in_the_order_of_the_files(files: Path) -> None:
    assert make_driver(files).section.values == {
        "driver": ["curious"],
        "target": ["one", "two"],
        "color": ["red"],
        "san-ip": ["10.0.0.1"],
        "lines": ["a\nb"],
    }


def test_section_has_its_name_and_the_template_of_managed_names(files: Path) -> None:
    section = make_driver(files).section

    assert (section.name, section.snapshot_name_template) == ("array", "snapshot-%s")


def test_driver_receives_its_options_besides_the_section(files: Path) -> None:
    assert make_driver(files).color == "red"
