"""Options in the configuration files that nothing reads, such as a misspelled one, with the nearest known name.

Libraries and plugins have options of their own in some sections. An option there counts as misspelled only if its name
resembles one of snapmanage's.
"""

import difflib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.cmd.wiring import configuration
from snapmanage.core.values.text import cut, printable

LOG = logging.getLogger(__name__)

# Sections in which libraries and plugins read options, too.
SHARED = ("DEFAULT", "upstream")
# How alike two names are, from 0 to 1, before one counts as a misspelling of the other.
RESEMBLANCE = 0.8


@dataclass(frozen=True)
class UnknownOption:
    """An option that nothing reads; `nearest` is a known name in its section that resembles it."""

    section: str
    name: str
    nearest: str | None

    def __str__(self) -> str:
        place = f"[{cut(printable(self.section))}] {cut(printable(self.name))}"
        remedy = f"did you mean {self.nearest}?" if self.nearest else "remove it, or correct its name"
        return f"{place} is not an option, so it has no effect; {remedy}"


def warn(conf: cfg.ConfigOpts, with_backends: bool = False) -> None:
    """Log each unknown option of snapmanage's own sections, and of its backends' sections."""
    for unknown in find(conf, with_backends):
        LOG.warning("%s", unknown)


def find(conf: cfg.ConfigOpts, with_backends: bool = False) -> list[UnknownOption]:
    """Return the unknown options of the files; those of backends need the packages of their drivers."""
    known = {group: _names(opts) for group, opts in options.GROUPS.items()}
    found = [each for section, names in known.items() for each in _unknown(conf, section, names)]
    if with_backends:
        for section in conf.enabled_backends:
            if (names := _backend_names(conf, section)) is not None:
                found += _unknown(conf, section, names)
    return found


def _unknown(conf: cfg.ConfigOpts, section: str, known: set[str]) -> Iterator[UnknownOption]:
    registered = known | set(conf if section == "DEFAULT" else conf[section])
    for name in configuration.section_values(conf, section):
        if (plain := name.replace("-", "_")) in registered:
            continue
        nearest = next(iter(difflib.get_close_matches(plain, sorted(known), 1, RESEMBLANCE)), None)
        if nearest or section not in SHARED:
            yield UnknownOption(section, name, nearest)


def _backend_names(conf: cfg.ConfigOpts, section: str) -> set[str] | None:
    """Return the names of a backend's options; None if its driver is unknown, or takes the whole section."""
    given = options.register_backend(conf, section)
    try:
        driver = configuration.driver_class(section, given.driver)
    except (errors.ConfigurationError, ImportError):
        return None  # the start of the server reports it
    return None if getattr(driver, "takes_section", False) else _names([*options.BACKEND, *driver.options])


def _names(opts: Sequence[cfg.Opt]) -> set[str]:
    return set(_each_name(opts))


def _each_name(opts: Iterable[cfg.Opt]) -> Iterator[str]:
    for option in opts:
        yield option.dest
        for old in option.deprecated_opts:
            if old.name:
                yield old.name.replace("-", "_")
