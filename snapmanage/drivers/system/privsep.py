"""What needs root: entry points of oslo.privsep that drivers call by `call`; nothing else has root.

The entry points are in the modules `privileged` of the drivers. The process that asks is not trusted:
every argument is checked on the privileged side, there or in what is called from there, and what is
reported and how is fixed there too. Whether there are two sides is decided by `start`.
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
    # What device-mapper, searching the trees of a btrfs and ZFS ask for; files and devices belong to root.
    capabilities=[capabilities.CAP_SYS_ADMIN],
)


def start() -> None:
    """Run the entry points in this process where it is root, and otherwise in a daemon.

    The daemon starts at the first call, by `helper_command` in `[snapmanage_sys_admin]`. A main calls
    this once, before any driver is used.
    """
    context.set_client_mode(os.geteuid() != 0)


def call(entrypoint: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call an entry point; `BackendPermission` where we can't be root, `BackendUnavailable` when the daemon is lost."""
    try:
        return entrypoint(*arguments, **named)
    except daemon.FailedToDropPrivileges as failure:
        raise errors.BackendPermission(
            f"can't become root for that ({failure}): allow helper_command of [snapmanage_sys_admin], in sudoers say"
        ) from failure
    except (OSError, daemon.ProtocolError) as failure:
        raise errors.BackendUnavailable(
            f"the privileged daemon went away ({failure}); it is started again"
        ) from failure
