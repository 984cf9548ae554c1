"""Which files a record may mean: the text by which an image names its backing file, or the file of its data.

QEMU takes such a text for a path, a URL, a path behind a protocol's name (`file:…`, `blkdebug:…`), or options
in JSON. Reading is generous here: each text that could be a path counts as one, so that no file is overlooked.
Only what names a server that has no files of ours (`nbd:`, `https:`) means none. Nothing is opened here;
`paths` follows the paths.
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
# They lead to files of another host, which may be this one, or have the directory mounted.
_OTHER_HOSTS = frozenset(("nfs", "ssh", "sftp", "gluster", "gluster+tcp", "gluster+unix", "gluster+rdma"))
# Where the options of a driver may name a node of the running QEMU instead of a file.
_NODE_KEYS = frozenset(("file", "backing", "data-file", "image", "raw", "test", "children", "bottom", "target", "log"))
# A process's own open files, which are others in QEMU than here.
_OPEN_FILES = ("/proc/", "/dev/fd")
# No honest record has more colons. Each can begin a name, so that one text could mean hundreds of paths.
_MAX_COLONS = 16
# A hostile record repeats `json:` at each level of quotes; without memory, each level multiplies the time. Few
# meanings are kept, since one can be hundreds of times as long as its text.
_CACHED_NAMES = 64
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)


@dataclass(frozen=True)
class PossibleFiles:
    """The files that a record may mean: those that `paths` lead to, those of one of the `names`, or `anything`.

    PathResolver are followed from the directory of the image. One that leads nowhere from here may do so on another
    host, to a file with the same last name.
    """

    paths: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    any_file: bool = False

    @classmethod
    def of_all(cls, meanings: Iterable[Self]) -> "PossibleFiles":
        every = list(meanings)
        return cls(
            frozenset(path for each in every for path in each.paths),
            frozenset(name for each in every for name in each.names),
            any(each.any_file for each in every),
        )


_NOTHING = PossibleFiles()
_ANYTHING = PossibleFiles(any_file=True)


@lru_cache(_CACHED_NAMES)
def possible_files(recorded: str) -> PossibleFiles:
    """Read the record of a backing file; a relative path starts at the image."""
    if recorded.startswith("json:"):
        return PossibleFiles.of_all(_options(recorded.removeprefix("json:")))
    return _behind_protocol(recorded) or _path(recorded)


@lru_cache(_CACHED_NAMES)
def possible_files_from_cwd(recorded: str) -> PossibleFiles:
    """Read the name of a data file, or a path within options: a relative one starts where QEMU does."""
    if recorded.startswith("json:"):
        return possible_files(recorded)
    protocol = _behind_protocol(recorded) or _NOTHING
    # A path may have a colon too.
    return PossibleFiles.of_all((protocol, _path_from_anywhere(recorded)))


def last_name(path: str) -> str:
    """The name that a path ends with, whatever is behind it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[-1] if parts else ""


def _path(path: str) -> PossibleFiles:
    if path.startswith(_OPEN_FILES):
        return _ANYTHING
    return PossibleFiles(frozenset({path})) if path else _NOTHING


def _path_from_anywhere(path: str) -> PossibleFiles:
    found = _path(path)
    if path.startswith("/") or not path:
        return found
    return PossibleFiles(found.paths, frozenset({last_name(path)}))


def _behind_protocol(text: str) -> PossibleFiles | None:
    """What is behind `PROTOCOL:`; None where there is no protocol."""
    protocol, colon, rest = text.partition(":")
    if not colon or "/" in protocol:
        return None
    if protocol in _WITHOUT_FILES:
        return _NOTHING
    if protocol in _OTHER_HOSTS:
        return _named(rest)
    if rest.count(":") > _MAX_COLONS:
        return _ANYTHING
    pieces = rest.split(":")
    tails = [":".join(pieces[start:]) for start in range(len(pieces))]
    options = [possible_files(tail) for tail in tails if tail.startswith("json:")]
    return PossibleFiles.of_all([*options, *(_path_from_anywhere(path) for path in {*pieces, *tails})])


def _named(path: str) -> PossibleFiles:
    """A file of another host, in a URL or not."""
    spellings = (path, path.partition("?")[0], path.partition("#")[0])
    return PossibleFiles(names=frozenset(last_name(each) for text in spellings for each in (text, unquote(text))))


def _options(text: str) -> Iterator[PossibleFiles]:
    try:
        tree = json.loads(text, object_pairs_hook=_nested)
    except (ValueError, RecursionError):
        # QEMU reads more than JSON, single quotes for instance; all that is quoted may be a path.
        yield from map(possible_files_from_cwd, _quoted(text))
        return
    # Key, value, and whether it belongs to a driver that leads to another host.
    pending: list[tuple[str, Any, bool]] = [("", tree, False)]
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
                yield _ANYTHING if node else _named(value) if remote else possible_files_from_cwd(value)


def _nested(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object with `a.b` as `b` within `a`; `ValueError` where that can't be, as in QEMU."""
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
    for found in _QUOTED.findall(text):
        inside = found[1:-1]
        requoted = inside if found[0] == '"' else inside.replace("\\'", "'").replace('"', '\\"')
        try:
            yield json.loads(f'"{requoted}"', strict=False)
        except ValueError:
            yield inside
