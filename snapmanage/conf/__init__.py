"""All options of snapmanage; only the mains in `snapmanage.cmd` read them.

A backend is a section named in `enabled_backends`. It has the options in `BACKEND` and those of its driver. The
driver's class defines its options, so that a driver from another package defines its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from oslo_config import cfg

from snapmanage.conf.health import HEALTH, LISTEN
from snapmanage.conf.service import API, DATABASE, DEFAULT, QUOTA
from snapmanage.conf.upstream import CREDENTIALS, UPSTREAM
from snapmanage.conf.work import BACKEND, OPERATIONS, RELAY

__all__ = ["BACKEND", "DATABASE", "GROUPS", "list_opts", "register", "register_backend", "set_library_defaults"]

GROUPS: dict[str, Sequence[cfg.Opt]] = {
    "DEFAULT": DEFAULT,
    "database": DATABASE,
    "api": API,
    "operations": OPERATIONS,
    "relay": RELAY,
    "quota": QUOTA,
    "health": HEALTH,
    "upstream": UPSTREAM,
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register all options except those of backends."""
    for group, options in GROUPS.items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)


def register_flags(conf: cfg.ConfigOpts) -> None:
    """Register the options that processes on one host can't share; call it before `register`."""
    conf.register_cli_opt(LISTEN, group="health")


def set_cors_defaults() -> None:
    """Set the defaults of CORS to the methods and headers of this API, so that an operator only sets the origin."""
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
    """Limit the time for which a request and its thread wait for a Keystone that does not answer."""
    from keystonemiddleware import auth_token

    for _, options in auth_token.AUTH_TOKEN_OPTS:
        cfg.set_defaults(options, http_connect_timeout=10, http_request_max_retries=1)


def set_library_defaults() -> None:
    """Set all defaults that differ from those of the libraries, for oslo-config-generator."""
    set_cors_defaults()
    set_keystone_defaults()


def register_backend(conf: cfg.ConfigOpts, section: str, driver_options: Iterable[cfg.Opt] = ()) -> Any:
    """Register the options of a backend's section, and return its values.

    Raise `cfg.DuplicateOptError` if an option of the driver has the name of an option in `BACKEND`.
    """
    conf.register_opts([*BACKEND, *driver_options], group=section)
    return conf[section]


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Return the options for oslo-config-generator, with an example section for each driver of snapmanage."""
    from snapmanage.drivers.btrfs.driver import BtrfsDriver
    from snapmanage.drivers.cinder.driver import CinderDriver
    from snapmanage.drivers.fake import FakeDriver
    from snapmanage.drivers.file import FileDriver
    from snapmanage.drivers.lvm.driver import LvmDriver
    from snapmanage.drivers.qcow2.driver import Qcow2Driver
    from snapmanage.drivers.rbd.driver import RbdDriver
    from snapmanage.drivers.system import privsep
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
    groups = GROUPS | {"upstream": [*UPSTREAM, *CREDENTIALS]}
    return [*groups.items(), (privsep.context.cfg_section, privsep.OPTIONS), *backends]
