"""The files that a recorded name may mean. A recorded name is a backing file name, a data file name, or part of one.

QEMU reads such a name as a path, a URL, a path after a protocol (`file:…`, `blkdebug:…`), or options in JSON. This
module counts every text that could be a path, so it misses no file. Only a name on a server that has no files of the
directory (`nbd:`, `https:`) means no file. This module opens nothing; `paths` follows the paths.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self
from urllib.parse import unquote

# Protocols and drivers that serve no files of a directory.
_WITHOUT_FILES = frozenset(
    (
        *("nbd", "nbd+tcp", "nbd+unix", "http", "https", "ftp", "ftps", "tftp", "iscsi", "iscsi+iser", "iser"),
        *("rbd", "nvme", "null-co", "null-aio", "sheepdog", "vxhs"),
    )
)
# Protocols that lead to files of another host. That host may be this one, or may have mounted the directory.
_OTHER_HOSTS = frozenset(("nfs", "ssh", "sftp", "gluster", "gluster+tcp", "gluster+unix", "gluster+rdma"))
# Options whose value may be a node of the running QEMU instead of a file.
_NODE_KEYS = frozenset(("file", "backing", "data-file", "image", "raw", "test", "children", "bottom", "target", "log"))
# The open files of a process: in QEMU these paths lead to other files than here.
_OPEN_FILES = ("/proc/", "/dev/fd")
# A path may begin after each colon, so one text could mean hundreds of paths. No harmless name has more colons.
_MAX_COLONS = 16
# A hostile name repeats `json:` at each level of quotes, and each level multiplies the time. No harmless name has more.
_MAX_OPTIONS = 4
# The cache is small, because a result can be hundreds of times as long as its text.
_CACHED_NAMES = 64
_QUOTE = re.compile("[\"']")
_TO_QUOTE = {quote: re.compile(rf"((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in "\"'"}


@dataclass(frozen=True)
class PossibleFiles:
    """The files that a recorded name may mean.

    * `paths`: the files at the end of these paths, which start at the directory of the image. A path that leads nowhere
      here may lead to a file with the same last name on another host.
    * `names`: the files with one of these names.
    * `any_file`: every file.
    """

    paths: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    any_file: bool = False

    @classmethod
    def of_all(cls, parts: Iterable[Self]) -> "PossibleFiles":
        every = list(parts)
        return cls(
            frozenset(path for each in every for path in each.paths),
            frozenset(name for each in every for name in each.names),
            any(each.any_file for each in every),
        )


_NO_FILE = PossibleFiles()
_ANY_FILE = PossibleFiles(any_file=True)


@lru_cache(_CACHED_NAMES)
def possible_files(recorded: str) -> PossibleFiles:
    """Return the files that a backing file name may mean; a relative path starts at the image."""
    if recorded.count("json:") > _MAX_OPTIONS:
        return _ANY_FILE
    if recorded.startswith("json:"):
        return PossibleFiles.of_all(_in_options(recorded.removeprefix("json:")))
    return _after_protocol(recorded) or _at_path(recorded)


@lru_cache(_CACHED_NAMES)
def possible_files_from_cwd(recorded: str) -> PossibleFiles:
    """Return the files that a data file name, or a path in options, may mean.

    A relative path starts at QEMU's working directory, which is unknown here.
    """
    if recorded.startswith("json:"):
        return possible_files(recorded)
    after_protocol = _after_protocol(recorded) or _NO_FILE
    # The text may also be a path with a colon.
    return PossibleFiles.of_all((after_protocol, _at_path_from_cwd(recorded)))


def last_name(path: str) -> str:
    """Return the last component of a path that names a file, without `.` and slashes after it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[-1] if parts else ""


def _at_path(path: str) -> PossibleFiles:
    if path.startswith(_OPEN_FILES):
        return _ANY_FILE
    return PossibleFiles(frozenset({path})) if path else _NO_FILE


def _at_path_from_cwd(path: str) -> PossibleFiles:
    found = _at_path(path)
    if path.startswith("/") or not path:
        return found
    return PossibleFiles(found.paths, frozenset({last_name(path)}))


def _after_protocol(text: str) -> PossibleFiles | None:
    """Return the files that the text after `PROTOCOL:` may mean; None if there is no protocol."""
    protocol, colon, rest = text.partition(":")
    if not colon or "/" in protocol:
        return None
    if protocol in _WITHOUT_FILES:
        return _NO_FILE
    if protocol in _OTHER_HOSTS:
        return _on_other_host(rest)
    if rest.count(":") > _MAX_COLONS:
        return _ANY_FILE
    pieces = rest.split(":")
    tails = [":".join(pieces[start:]) for start in range(len(pieces))]
    options = [possible_files(tail) for tail in tails if tail.startswith("json:")]
    return PossibleFiles.of_all([*options, *(_at_path_from_cwd(path) for path in {*pieces, *tails})])


def _on_other_host(path: str) -> PossibleFiles:
    """Return the files that a path or the rest of a URL may mean on another host."""
    spellings = (path, path.partition("?")[0], path.partition("#")[0])
    return PossibleFiles(names=frozenset(last_name(each) for text in spellings for each in (text, unquote(text))))


def _in_options(text: str) -> Iterator[PossibleFiles]:
    try:
        options = json.loads(text, object_pairs_hook=_nested)
    except (ValueError, RecursionError):
        # QEMU accepts more than JSON, such as single quotes. Any quoted text may be a path.
        yield from map(possible_files_from_cwd, set(_quoted(text)))
        return
    # Each item: key, value, and whether the value belongs to a driver for files of another host.
    pending: list[tuple[str, Any, bool]] = [("", options, False)]
    while pending:
        key, value, remote = pending.pop()
        match value:
            case dict() if (driver := str(value.get("driver"))) not in _WITHOUT_FILES:
                remote = remote or driver in _OTHER_HOSTS
                pending.extend((inner, each, remote) for inner, each in value.items() if inner != "driver")
            case list():
                pending.extend((key, each, remote) for each in value)
            case str() if value:
                node = key in _NODE_KEYS or key.isdigit()
                yield _ANY_FILE if node else _on_other_host(value) if remote else possible_files_from_cwd(value)


def _nested(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object with each key `a.b` as `b` within `a`; raise `ValueError` if keys collide, as QEMU does."""
    tree: dict[str, Any] = {}
    for key, value in pairs:
        *outer, last = key.split(".")
        inner = tree
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ValueError(key)
        if last in inner:
            raise ValueError(key)
        inner[last] = value
    return tree


def _quoted(text: str) -> Iterator[str]:
    for quote, inside in _quotes(text):
        requoted = inside if quote == '"' else inside.replace("\\'", "'").replace('"', '\\"')
        try:
            yield json.loads(f'"{requoted}"', strict=False)
        except ValueError:
            yield inside


def _quotes(text: str) -> Iterator[tuple[str, str]]:
    """Yield each quoted text, with its kind of quotes, in linear time."""
    position, unclosed = 0, set[str]()
    while begin := _QUOTE.search(text, position):
        quote, position = begin[0], begin.end()
        if quote in unclosed:
            continue
        if end := _TO_QUOTE[quote].match(text, position):
            yield quote, end[1]
            position = end.end()
        else:
            # No later quote of this kind is closed either.
            unclosed.add(quote)
