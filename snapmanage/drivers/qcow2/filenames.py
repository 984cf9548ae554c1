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
_FOREIGN = frozenset(
    (
        *("nbd", "nbd+tcp", "nbd+unix", "http", "https", "ftp", "ftps", "tftp", "iscsi", "iscsi+iser", "iser"),
        *("rbd", "nvme", "null-co", "null-aio", "sheepdog", "vxhs"),
    )
)
# They lead to files of another host, which may be this one, or have the directory mounted.
_REMOTE = frozenset(("nfs", "ssh", "sftp", "gluster", "gluster+tcp", "gluster+unix", "gluster+rdma"))
# Where the options of a driver may name a node of the running QEMU instead of a file.
_NODES = frozenset(("file", "backing", "data-file", "image", "raw", "test", "children", "bottom", "target", "log"))
# A process's own open files, which are others in QEMU than here.
_OPEN_FILES = ("/proc/", "/dev/fd")
# No honest record has more colons. Each can begin a name, so that one text could mean hundreds of paths.
_MOST_COLONS = 16
# A hostile record repeats `json:` at each level of quotes; without memory, each level multiplies the time. Few
# meanings are kept, since one can be hundreds of times as long as its text.
_REMEMBERED = 64
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)


@dataclass(frozen=True)
class Meaning:
    """The files that a record may mean: those that `paths` lead to, those of one of the `names`, or `anything`.

    Paths are followed from the directory of the image. One that leads nowhere from here may do so on another
    host, to a file with the same last name.
    """

    paths: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    anything: bool = False

    @classmethod
    def of_all(cls, meanings: Iterable[Self]) -> "Meaning":
        every = list(meanings)
        return cls(
            frozenset(path for each in every for path in each.paths),
            frozenset(name for each in every for name in each.names),
            any(each.anything for each in every),
        )


_NOTHING = Meaning()
_ANYTHING = Meaning(anything=True)


@lru_cache(_REMEMBERED)
def meaning(recorded: str) -> Meaning:
    """Read the record of a backing file; a relative path starts at the image."""
    if recorded.startswith("json:"):
        return Meaning.of_all(_options(recorded.removeprefix("json:")))
    return _behind_protocol(recorded) or _path(recorded)


@lru_cache(_REMEMBERED)
def meaning_from_anywhere(recorded: str) -> Meaning:
    """Read the name of a data file, or a path within options: a relative one starts where QEMU does."""
    if recorded.startswith("json:"):
        return meaning(recorded)
    protocol = _behind_protocol(recorded) or _NOTHING
    # A path may have a colon too.
    return Meaning.of_all((protocol, _path_from_anywhere(recorded)))


def last_name(path: str) -> str:
    """The name that a path ends with, whatever is behind it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[-1] if parts else ""


def _path(path: str) -> Meaning:
    if path.startswith(_OPEN_FILES):
        return _ANYTHING
    return Meaning(frozenset({path})) if path else _NOTHING


def _path_from_anywhere(path: str) -> Meaning:
    found = _path(path)
    if path.startswith("/") or not path:
        return found
    return Meaning(found.paths, frozenset({last_name(path)}))


def _behind_protocol(text: str) -> Meaning | None:
    """What is behind `PROTOCOL:`; None where there is no protocol."""
    protocol, colon, rest = text.partition(":")
    if not colon or "/" in protocol:
        return None
    if protocol in _FOREIGN:
        return _NOTHING
    if protocol in _REMOTE:
        return _named(rest)
    if rest.count(":") > _MOST_COLONS:
        return _ANYTHING
    pieces = rest.split(":")
    tails = [":".join(pieces[start:]) for start in range(len(pieces))]
    options = [meaning(tail) for tail in tails if tail.startswith("json:")]
    return Meaning.of_all([*options, *(_path_from_anywhere(path) for path in {*pieces, *tails})])


def _named(path: str) -> Meaning:
    """A file of another host, in a URL or not."""
    spellings = (path, path.partition("?")[0], path.partition("#")[0])
    return Meaning(names=frozenset(last_name(each) for text in spellings for each in (text, unquote(text))))


def _options(text: str) -> Iterator[Meaning]:
    try:
        tree = json.loads(text, object_pairs_hook=_nested)
    except (ValueError, RecursionError):
        # QEMU reads more than JSON, single quotes for instance; all that is quoted may be a path.
        yield from map(meaning_from_anywhere, _quoted(text))
        return
    # Key, value, and whether it belongs to a driver that leads to another host.
    pending: list[tuple[str, Any, bool]] = [("", tree, False)]
    while pending:
        key, value, remote = pending.pop()
        match value:
            case dict() if (driver := str(value.get("driver"))) not in _FOREIGN:
                remote = remote or driver in _REMOTE
                pending.extend((inner, each, remote) for inner, each in value.items() if inner != "driver")
            case list():
                pending.extend((key, each, remote) for each in value)
            case str() if value:
                node = key in _NODES or key.isdigit()
                yield _ANYTHING if node else _named(value) if remote else meaning_from_anywhere(value)


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
