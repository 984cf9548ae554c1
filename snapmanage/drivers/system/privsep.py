"""The privileged side: drivers run the entry points of oslo.privsep with `call`; no other code runs as root.

The entry points are in the modules `privileged` of the drivers. The calling process is not trusted: the privileged side
checks every argument, and decides which data it reports and in which form. `start` decides whether the privileged side
is a process of its own.
"""

import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from oslo_config import cfg
from oslo_privsep import capabilities, daemon, priv_context

from snapmanage import errors
from snapmanage.drivers.system import boundary

P = ParamSpec("P")
T = TypeVar("T")

# The programs of the Python that runs this process; the sudoers file of the documentation allows exactly this command.
# sudo lets the caller choose the name of a program, by which Python finds its libraries; `env` gives it the real one.
HELPER_COMMAND = f"sudo -n /usr/bin/env {sys.prefix}/bin/python3 -I {sys.prefix}/bin/snapmanage-privileged"
OPTIONS = [
    cfg.StrOpt(
        "helper_command",
        default=HELPER_COMMAND,
        sample_default="sudo -n /usr/bin/env /opt/snapmanage/bin/python3 -I /opt/snapmanage/bin/snapmanage-privileged",
        help="The command that starts the helper for the drivers lvm, btrfs and zfs, if snapmanage-volume is not root. "
        "sudoers must allow it with the arguments that are added, see etc/sudoers.d/snapmanage.",
    ),
]

context = priv_context.PrivContext(
    "snapmanage",
    cfg_section="snapmanage_sys_admin",
    pypath=f"{__name__}.context",
    # Device-mapper, ZFS and searches in the trees of a btrfs require it. Files and devices belong to root.
    capabilities=[capabilities.CAP_SYS_ADMIN],
)

cfg.set_defaults(priv_context.OPTS, helper_command=HELPER_COMMAND)


def start() -> None:
    """Run the entry points in this process if it is root, and otherwise in a daemon.

    The first call starts the daemon, with `helper_command` of `[snapmanage_sys_admin]`. Each program calls this
    function once, before it uses a driver.
    """
    context.set_client_mode(os.geteuid() != 0)
    if os.geteuid() == 0:
        boundary.use(boundary.Everything())


def call(entrypoint: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call an entry point; raise `BackendPermission` without root, and `BackendUnavailable` if the daemon is lost."""
    try:
        return entrypoint(*arguments, **named)
    except daemon.FailedToDropPrivileges as failure:
        raise errors.BackendPermission(
            f"the privileged helper can't start ({failure}): see the lines 'privsep log' in this log, and allow "
            "helper_command of [snapmanage_sys_admin] in sudoers as docs/how-to/privileges.md describes"
        ) from failure
    except (OSError, daemon.ProtocolError) as failure:
        raise errors.BackendUnavailable(
            f"the privileged daemon ended ({failure}); the next call starts it again"
        ) from failure
