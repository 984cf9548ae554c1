"""The mounts in this process's own mount namespace (`/proc/self/mountinfo`, see proc(5))."""

import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One mount.

    `root` is the mounted part of the file system, as a path from its top; `source` is often a device. `parent` is the
    number of the mount that has the mount point.
    """

    number: int
    device: str
    root: bytes
    point: bytes
    kind: str
    source: bytes
    parent: int = 0


def mounts() -> list[Mount]:
    return read(Path("/proc/self/mountinfo").read_bytes())


def mount_of(fd: int) -> int:
    """Return the number of the mount through which a file was opened."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    [number] = (line.split()[1] for line in lines if line.startswith("mnt_id:"))
    return int(number)


def read(mountinfo: bytes) -> list[Mount]:
    """Return the mounts; any local user may have chosen the names in one of them, such as with FUSE.

    The kernel escapes blanks, tabs and line feeds in names. It leaves a carriage return, and every byte that isn't
    UTF-8, as it is.
    """
    return [_mount(line) for line in mountinfo.split(b"\n") if line]


def _mount(line: bytes) -> Mount:
    before, _, after = line.partition(b" - ")
    number, parent, device, root, point = before.split(b" ")[:5]
    kind, source = after.split(b" ")[:2]
    return Mount(
        number=int(number),
        device=device.decode(),
        root=_unescaped(root),
        point=_unescaped(point),
        kind=kind.decode(errors="replace"),
        source=_unescaped(source),
        parent=int(parent),
    )


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), text)
