"""Count the processes that a Python program starts and the reports that it reads, in a file.

The counts come from Python's audit events, not from functions of the drivers, so they stay true when a driver changes.
Each count is one line at the end of the file, so several processes can share it. This module imports the standard
library only: it also counts in a process of Cinder, whose interpreter may lack snapmanage.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Programs of which the next word is a part of the name.
_WITH_COMMAND = ("btrfs", "lvm", "qemu-img", "rbd", "zfs", "zpool")
# Programs that set something up and then become another program.
_BEFORE = ("env", "nice", "ionice", "prlimit", "sudo")
REPORTS = ("lvs", "vgs", "pvs", "lvm lvs", "qemu-img check", "qemu-img info", "qemu-img map", "zfs get", "zfs list")
# The number of `BTRFS_IOC_TREE_SEARCH_V2` and of `BTRFS_IOC_TREE_SEARCH`, without the size of the argument.
_TREE_SEARCH = 0x9411

SITE = """\
from importlib import util
spec = util.spec_from_file_location("snapmanage_counting", {module!r})
counting = util.module_from_spec(spec)
spec.loader.exec_module(counting)
counting.install({path!r})
"""


def install(path: str) -> Callable[[str, float], None]:
    """Count in the file from now on; return the function that adds a further count of its own."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(name: str, amount: float = 1) -> None:
        os.write(file, f"{amount:.9g} {name}\n".encode())

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        for name in counted(event, arguments):
            add(name)

    sys.addaudithook(hear)
    return add


def counted(event: str, arguments: Sequence[Any]) -> list[str]:
    """Return the names of the counts that an audit event adds to."""
    if event in ("subprocess.Popen", "os.posix_spawn"):
        label = program_of(arguments[1])
        return [f"process {label}", *([f"report {label}"] if label in REPORTS else [])]
    if event in ("os.scandir", "os.listdir") and isinstance(arguments[0], int):
        return ["report folder"]  # only the drivers list folders that they hold open
    if event == "open" and _opens_file_of_open_folder(*arguments):
        return ["report file"]
    if event == "fcntl.ioctl" and arguments[1] & 0xFFFF == _TREE_SEARCH:
        return ["report tree search"]
    return []


def _opens_file_of_open_folder(path: Any, mode: str | None, flags: int) -> bool:
    """Return whether a file is opened by its name within a folder that a driver holds open."""
    relative = isinstance(path, str | bytes) and not os.path.isabs(path)
    return relative and mode is None and not flags & (os.O_DIRECTORY | os.O_CREAT)


def program_of(argv: Sequence[Any]) -> str:
    """Return the name of the program that a command runs at last, with its command if it has several."""
    words = [os.fsdecode(word) for word in argv]
    while words and os.path.basename(words[0]) in _BEFORE:
        words = _behind(words)
    name, command = os.path.basename(words[0]) if words else "", words[1:2]
    return " ".join([name, *command]) if name in _WITH_COMMAND else name


def _behind(words: Sequence[str]) -> list[str]:
    """Return the command behind the options and the settings of variables."""
    if "--" in words:
        return list(words[words.index("--") + 1 :])
    rest = list(words[1:])
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        del rest[0]
    return rest


def read(path: Path) -> Counter[str]:
    """Return the sums of the counts in the file, by name."""
    sums: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        amount, _, name = line.partition(" ")
        sums[name] += float(amount)  # type: ignore[assignment]  # typeshed knows integers only
    return sums


def environment(folder: Path, path: Path) -> dict[str, str]:
    """Return the environment in which every Python program counts, from a file in `folder`."""
    (folder / "sitecustomize.py").write_text(SITE.format(module=__file__, path=str(path)))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def per_operation(counts: Mapping[str, float], operations: int) -> dict[str, Any]:
    """Return milliseconds in the driver, processes and reports of an operation, and the mean entries of a call."""
    calls, entries = _of_kind(counts, "call"), _of_kind(counts, "entry")
    each = {
        plural: {name: round(count / operations, 4) for name, count in _of_kind(counts, kind).items()}
        for kind, plural in (("process", "processes"), ("report", "reports"))
    }
    batch = {name: round(entries.get(name, 0) / count, 1) for name, count in calls.items()}
    return {"driver_ms": round(1000 * counts.get("busy", 0) / operations, 3), "batch": batch, **each}


def _of_kind(counts: Mapping[str, float], kind: str) -> dict[str, float]:
    """Return the counts of a kind, such as `process`, by the rest of their names."""
    return {name.partition(" ")[2]: each for name, each in counts.items() if name.startswith(f"{kind} ") and each}
