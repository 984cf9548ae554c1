"""A Linux kernel with device-mapper as an ordinary process (User Mode Linux), for one command.

The guest sees the host's files read-only, except one shared folder, and a disk of its own. Inside,
`uml_guest.py` is the first process: it prepares the machine, runs the command, and powers off.
Needs the Debian packages `user-mode-linux`, `lvm2` and `thin-provisioning-tools`; not root. On a processor with
AMX it also needs a C compiler, for the reason in `uml_registers.c`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from snapmanage.testing.needs import require
from tests.services.guests import uml_guest

GUEST = Path(uml_guest.__file__).resolve()
REPOSITORY = GUEST.parents[3]
REGISTERS = GUEST.with_name("uml_registers.c")
DISK_BYTES = 1024**3


@dataclass(frozen=True)
class Outcome:
    """The result of a command in a guest; `console` has the kernel's messages."""

    exit_code: int | None
    output: str
    console: str

    def __str__(self) -> str:
        return f"exit code {self.exit_code} in the guest\n{self.output}\nThe guest's console:\n{self.console}"


def run(
    argv: Sequence[str], shared: Path, environment: Mapping[str, str] | None = None, seconds: float = 900
) -> Outcome:
    """Boot a guest, run one command from the repository in it, and switch it off.

    `shared` is the folder where the guest may write. `exit_code` is None if the guest died, or did not end the command
    within `seconds`.
    """
    order = uml_guest.Order(list(argv), str(REPOSITORY), dict(environment or {}))
    (shared / uml_guest.ORDER).write_text(json.dumps(asdict(order)))
    with (shared / "disk").open("wb") as disk:
        disk.truncate(DISK_BYTES)
    _boot(shared, seconds)
    (shared / "disk").unlink()
    exit_code = _read(shared / uml_guest.EXIT_CODE)
    return Outcome(int(exit_code) if exit_code else None, _read(shared / uml_guest.OUTPUT), _read(shared / "console"))


def _boot(shared: Path, seconds: float) -> None:
    with (shared / "console").open("wb") as console:
        kernel = subprocess.Popen(
            _kernel(shared),
            env=os.environ | {"HOME": str(shared)} | _preloaded(shared),  # the kernel puts its sockets into HOME
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                kernel.wait(seconds)
        finally:
            if kernel.poll() is None:
                # The kernel's session contains processes of the guest, which would continue after the kernel ends.
                os.killpg(kernel.pid, signal.SIGKILL)
                kernel.wait()


def _preloaded(shared: Path) -> dict[str, str]:
    """Return the environment that makes the kernel run on this processor."""
    if "amx_tile" not in Path("/proc/cpuinfo").read_text():
        return {}
    require("cc")
    library = shared / "registers.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(REGISTERS)], check=True)
    return {"LD_PRELOAD": str(library)}


def _kernel(shared: Path) -> list[str]:
    machine = ["mem=512M", "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", f"ubd0={shared / 'disk'}"]
    consoles = ["con=null", "con0=null,fd:1"]
    first_process = [f"init={sys.executable}", "--", str(GUEST), str(shared)]
    return ["linux.uml", *machine, *consoles, *first_process]


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
