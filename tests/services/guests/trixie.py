"""Programs of another Debian release, run from a folder made by `debootstrap trixie FOLDER`.

The environment variable `SNAPMANAGE_TRIXIE` names the folder; it must hold the package rabbitmq-server.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from snapmanage.testing.services.rabbitmq import SERVER, RabbitMQ

VARIABLE = "SNAPMANAGE_TRIXIE"
# Mount folders of this machine into the other release, in a mount namespace of the command's own.
ENTER = """
set -e
for each in /proc /dev "$2"; do mkdir -p "$1$each"; mount --rbind "$each" "$1$each"; done
root=$1
shift 2
exec /usr/sbin/chroot --userspec=nobody:nogroup "$root" "$@"
"""


def folder() -> Path | None:
    """Return the folder that the environment variable names; None if it is unset."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


# Fixtures of the installed brokers; parameters for tests that each version must pass.
BROKERS = ["rabbitmq", *(["trixie_rabbitmq"] if folder() else [])]


def inside(root: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` as `nobody` in `root`, with this machine's temporary folder."""
    return ["unshare", "--mount", "sh", "-c", ENTER, "sh", str(root), tempfile.gettempdir(), *command]


class TrixieRabbitMQ(RabbitMQ):
    """A node of the RabbitMQ in the folder, version 4.0."""

    as_nobody = False  # `inside` changes the user

    def inside(self, command: Sequence[str]) -> Sequence[str]:
        root = folder()
        assert root is not None, f"{VARIABLE} names no folder"
        assert (root / SERVER.lstrip("/")).exists(), f"{root} has no rabbitmq-server"
        return inside(root, command)
