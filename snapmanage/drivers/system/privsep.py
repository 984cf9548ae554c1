"""The privileged side: drivers run the entry points of oslo.privsep with `call`; no other code runs as root.

The entry points are in the modules `privileged` of the drivers. The calling process is not trusted: the privileged side
checks every argument, and decides which data it reports and in which form. `start` decides whether the privileged side
is a process of its own.
"""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from oslo_privsep import capabilities, daemon, priv_context

from snapmanage import errors

P = ParamSpec("P")
T = TypeVar("T")

context = priv_context.PrivContext(
    "snapmanage",
    cfg_section="snapmanage_sys_admin",
    pypath=f"{__name__}.context",
    # Device-mapper, ZFS and searches in the trees of a btrfs require it. Files and devices belong to root.
    capabilities=[capabilities.CAP_SYS_ADMIN],
)


def start() -> None:
    """Run the entry points in this process if it is root, and otherwise in a daemon.

    The first call starts the daemon, with `helper_command` of `[snapmanage_sys_admin]`. Each program calls this
    function once, before it uses a driver.
    """
    context.set_client_mode(os.geteuid() != 0)


def call(entrypoint: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call an entry point; raise `BackendPermission` without root, and `BackendUnavailable` if the daemon is lost."""
    try:
        return entrypoint(*arguments, **named)
    except daemon.FailedToDropPrivileges as failure:
        raise errors.BackendPermission(
            f"the privileged daemon can't become root ({failure}): allow helper_command of [snapmanage_sys_admin], "
            "for example in sudoers"
        ) from failure
    except (OSError, daemon.ProtocolError) as failure:
        raise errors.BackendUnavailable(
            f"the privileged daemon ended ({failure}); the next call starts it again"
        ) from failure
