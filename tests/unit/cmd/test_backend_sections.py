"""The section of a backend becomes a driver, or an error that names the section and the option."""

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest
from oslo_config import cfg

from snapmanage import conf, errors
from snapmanage.cmd.wiring import configuration


class Greedy:
    """A driver of another package, with an option that every backend has."""

    options: ClassVar[Sequence[cfg.Opt]] = [cfg.FloatOpt("driver-timeout-seconds", default=1)]


def load_section(folder: Path, section: str, driver: str) -> cfg.ConfigOpts:
    file = folder / "snapmanage.conf"
    file.write_text(f"[DEFAULT]\nhost = storage-1\nenabled_backends = {section}\n[{section}]\ndriver = {driver}\n")
    read = cfg.ConfigOpts()
    conf.register(read)
    read([], default_config_files=[str(file)])
    return read


def names_of_own_drivers() -> list[str]:
    drivers = entry_points(group="snapmanage.drivers")
    return sorted(each.name for each in drivers if each.value.startswith("snapmanage."))


@pytest.mark.parametrize("driver", names_of_own_drivers())
def test_section_that_only_names_the_driver_is_enough(tmp_path: Path, driver: str) -> None:
    [(server, (name, made, _))] = configuration.backends(load_section(tmp_path, "fast", driver)).items()

    assert (server, name) == ("storage-1@fast", driver)
    assert isinstance(made, load_driver_class(driver))


def test_driver_with_an_option_that_every_backend_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "driver_class", lambda section, name: Greedy)

    with pytest.raises(errors.ConfigurationError, match=r"\[fast\] driver 'greedy' .*driver.timeout.seconds.*rename"):
        configuration.backends(load_section(tmp_path, "fast", "greedy"))


@pytest.mark.parametrize("section", ["api", "database", "oslo_messaging_rabbit", "fast@1", "fast#1"])
def test_section_name_that_no_backend_can_have_is_refused(tmp_path: Path, section: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"enabled_backends: '{section}' .*choose another name"):
        configuration.backends(load_section(tmp_path, section, "fake"))


def load_driver_class(driver: str) -> Any:
    [found] = entry_points(group="snapmanage.drivers", name=driver)
    return found.load()
