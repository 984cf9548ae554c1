"""A driver that reads its section by itself is handed it as it stands in the files."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from oslo_config import cfg

from snapmanage import conf
from snapmanage.cmd.wiring import configuration
from snapmanage.drivers.protocol import Section


class Curious:
    """A driver with one option of its own, which takes its section too."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [cfg.StrOpt("color")]

    def __init__(self, color: str, section: Section) -> None:
        self.color = color
        self.section = section


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configuration, "_driver_class", lambda section, name: Curious)
    first, second, folder = tmp_path / "first.conf", tmp_path / "second.conf", tmp_path / "more.conf.d"
    folder.mkdir()
    first.write_text("[DEFAULT]\nenabled_backends = array\nsecret = x\n[array]\ndriver = curious\ntarget = one\n")
    second.write_text("[array]\ntarget = two\ncolor = red\n[other]\ntarget = none\n")
    (folder / "third.conf").write_text("[array]\nsan-ip = 10.0.0.1\nlines = a\n  b\n")
    return tmp_path


def made(files: Path) -> Curious:
    loaded = cfg.ConfigOpts()
    conf.register(loaded)
    named = [str(files / "first.conf"), str(files / "second.conf")]
    loaded([], default_config_files=named, default_config_dirs=[str(files / "more.conf.d")])
    [(_, driver, _)] = configuration.backends(loaded).values()
    assert isinstance(driver, Curious)
    return driver


def test_section_has_everything_that_is_given_in_it_in_the_order_of_the_files(files: Path) -> None:
    assert made(files).section.values == {
        "driver": ["curious"],
        "target": ["one", "two"],
        "color": ["red"],
        "san-ip": ["10.0.0.1"],
        "lines": ["a\nb"],
    }


def test_section_comes_with_its_name_and_how_managed_snapshots_are_called(files: Path) -> None:
    section = made(files).section

    assert (section.name, section.snapshot_name_template) == ("array", "snapshot-%s")


def test_options_of_the_driver_are_handed_over_beside_it(files: Path) -> None:
    assert made(files).color == "red"
