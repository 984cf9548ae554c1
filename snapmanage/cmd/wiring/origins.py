"""The table of origins: the built-in one, extended by the file of `[DEFAULT] origins_file`."""

import os
import zoneinfo
from collections.abc import Hashable
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import yaml

from snapmanage import errors
from snapmanage.core.origins import definitions
from snapmanage.core.origins.patterns import Origins, Pattern
from snapmanage.core.origins.table import BUILT_IN

LARGEST_FILE = 256 * 1024
LOCAL_TIME = Path("/etc/localtime")


def load(path: str | None) -> Origins:
    """Return the table, with the patterns of a file before the built-in ones; raise `ConfigurationError`."""
    return Origins(read(Path(path)) if path else BUILT_IN, local_zone())


def read(path: Path) -> list[Pattern]:
    """Return the patterns of a file and the built-in ones that it does not disable; raise `ConfigurationError`."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise _wrong(path, f"it can't be read ({error}); give the path of a file that this user may read") from error
    if len(content) > LARGEST_FILE:
        raise _wrong(path, f"it has more than {LARGEST_FILE // 1024} KiB; shorten it")
    try:
        return definitions.read(parse(content), BUILT_IN)
    except errors.InvalidRequest as error:
        raise _wrong(path, str(error)) from error


def parse(content: bytes) -> Any:
    """Return the value of a YAML text; raise `InvalidRequest` for repeated keys, aliases, or what isn't YAML."""
    try:
        return yaml.load(content, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise errors.InvalidRequest(f"it isn't YAML as this file needs it: {text}") from error


def local_zone() -> tzinfo:
    """Return the zone of this host: that of the variable TZ, else of /etc/localtime, else UTC."""
    try:
        if name := os.environ.get("TZ", "").removeprefix(":"):
            return zoneinfo.ZoneInfo(name)
        with LOCAL_TIME.open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return UTC


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses aliases, which can make a small text a huge value, and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*NAME); write the value again")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"the key {repeated[0]!r} is there twice; keep one of them")
        return super().construct_mapping(node, deep)


def _wrong(path: Path, why: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"[DEFAULT] origins_file {str(path)!r}: {why}")
