"""Every option of snapmanage. Only the mains in `snapmanage.cmd` read them.

A backend is a section named in `enabled_backends`; beside the options of `BACKEND` it has those of its
driver, which stand in the driver's file, so that a driver from elsewhere brings its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from oslo_config import cfg

from snapmanage.conf.service import API, DATABASE, DEFAULT, QUOTA
from snapmanage.conf.work import BACKEND, OPERATIONS, RELAY

__all__ = ["BACKEND", "DATABASE", "GROUPS", "list_opts", "register", "register_backend", "set_library_defaults"]

GROUPS: dict[str, Sequence[cfg.Opt]] = {
    "DEFAULT": DEFAULT,
    "database": DATABASE,
    "api": API,
    "operations": OPERATIONS,
    "relay": RELAY,
    "quota": QUOTA,
}


def register(conf: cfg.ConfigOpts) -> None:
    """Make every option known, but for those of backends."""
    for group, options in GROUPS.items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)


def set_cors_defaults() -> None:
    """Let browsers use this API once an origin is allowed, without listing its headers."""
    from oslo_middleware import cors

    cors.set_defaults(
        allow_methods=["GET", "POST"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "OpenStack-API-Version",
            "X-Auth-Token",
            "X-Openstack-Request-Id",
        ],
        expose_headers=["OpenStack-API-Version", "Retry-After", "X-Openstack-Request-Id"],
    )


def set_keystone_defaults() -> None:
    """Don't keep a request, and its thread, waiting for a Keystone that doesn't answer."""
    from keystonemiddleware import auth_token

    for _, options in auth_token.AUTH_TOKEN_OPTS:
        cfg.set_defaults(options, http_connect_timeout=10, http_request_max_retries=1)


def set_library_defaults() -> None:
    """What differs here from the libraries' own defaults; for oslo-config-generator."""
    set_cors_defaults()
    set_keystone_defaults()


def register_backend(conf: cfg.ConfigOpts, section: str, driver_options: Iterable[cfg.Opt] = ()) -> Any:
    """Register the options of a backend's section, and return its values.

    Raise `cfg.DuplicateOptError` where a driver's option has the name of one that every backend has.
    """
    conf.register_opts([*BACKEND, *driver_options], group=section)
    return conf[section]


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """What oslo-config-generator writes into the sample; each driver we ship has an example section."""
    from snapmanage.drivers.btrfs.driver import BtrfsDriver
    from snapmanage.drivers.cinder.driver import CinderDriver
    from snapmanage.drivers.fake import FakeDriver
    from snapmanage.drivers.file import FileDriver
    from snapmanage.drivers.lvm.driver import LvmDriver
    from snapmanage.drivers.qcow2.driver import Qcow2Driver
    from snapmanage.drivers.rbd.driver import RbdDriver
    from snapmanage.drivers.zfs.driver import ZfsDriver

    examples: dict[str, Any] = {
        "file": FileDriver,
        "lvm": LvmDriver,
        "rbd": RbdDriver,
        "qcow2": Qcow2Driver,
        "btrfs": BtrfsDriver,
        "zfs": ZfsDriver,
        "cinder": CinderDriver,
        "fake": FakeDriver,
    }
    backends = [(f"example-{name}", [*BACKEND, *driver.options]) for name, driver in examples.items()]
    return [*GROUPS.items(), *backends]
