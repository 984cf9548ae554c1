"""Every option of snapmanage. Only the mains in `snapmanage.cmd` read them.

A backend is a section named in `enabled_backends`; beside the options below it has those of its
driver, which stand in the driver's file, so that a driver from elsewhere brings its own.
"""

import socket
from collections.abc import Iterable, Sequence
from typing import Any

from oslo_config import cfg

DEFAULT = [
    cfg.HostAddressOpt(
        "host",
        default=socket.gethostname(),
        sample_default="storage-1",
        help="Name of this machine in host@backend. Changing it makes the records of this machine's backends "
        "unreachable until it is changed back, since they belong to host@backend.",
    ),
    cfg.HostAddressOpt(
        "cluster",
        sample_default="cluster-1",
        help="Name that takes the place of host in host@backend on all machines which serve the same backends, so "
        "that each takes requests for them and any of them goes on where another fell. Every backend of a machine "
        "with it must be reached by the whole cluster. Empty means that this machine stands alone.",
    ),
    cfg.ListOpt(
        "enabled_backends",
        default=[],
        help="Backends that snapmanage-volume serves in one process: names of sections of this file. Each more "
        "costs one thread, some idle queries and driver_calls threads under load.",
    ),
    cfg.StrOpt(
        "volume_topic",
        default="snapmanage-volume",
        help="RPC topic of the servers; the same in API, relay and servers. Set it to cinder-volume to take the "
        "casts of an API that was written for the reference.",
    ),
    cfg.ListOpt(
        "notification_topics",
        default=["notifications"],
        help="Topics that events go to, and that snapmanage-audit listens on. Each more multiplies the events sent.",
    ),
    cfg.StrOpt(
        "notification_dialect",
        default="own",
        choices=[
            ("own", "only snapshot.manage.* and snapshot.unmanage.*"),
            ("both", "the reference's names too, for collectors written for it; doubles the events sent"),
        ],
        help="Names under which events go out.",
    ),
]

DATABASE = [
    cfg.StrOpt(
        "connection",
        secret=True,
        help="URL of the database, such as sqlite:////var/lib/snapmanage/snapmanage.db, "
        "mysql+pymysql://USER:PASSWORD@HOST/snapmanage or postgresql+psycopg://USER:PASSWORD@HOST/snapmanage.",
    ),
    cfg.IntOpt(
        "pool_size",
        default=10,
        min=1,
        help="Connections that a process keeps open; twice as many at peaks. Higher takes more of the database's "
        "limit, lower lets threads wait for one another.",
    ),
]

API = [
    cfg.StrOpt(
        "listen",
        default="127.0.0.1:8776",
        help="HOST:PORT where snapmanage-api serves HTTP. With auth_strategy noauth only loopback is allowed.",
    ),
    cfg.IntOpt(
        "threads",
        default=16,
        min=1,
        help="Requests that snapmanage-api works on at once. Higher serves more slow clients and takes more "
        "database connections; lower lets requests queue.",
    ),
    cfg.IntOpt(
        "workers",
        default=1,
        min=1,
        help="Processes of snapmanage-api, which share its port; one that dies is started again. Higher uses more "
        "processors, for 80 MB and pool_size database connections each; lower leaves them to others.",
    ),
    cfg.StrOpt(
        "auth_strategy",
        default="noauth",
        choices=[
            ("noauth", "everybody is an administrator; callers on this machine only, unless noauth_anywhere is set"),
            (
                "http_basic",
                "name and password, of a file with bcrypt hashes ([oslo_middleware] http_basic_auth_user_file); "
                "whoever is in it is an administrator",
            ),
            ("keystone", "a token of Keystone ([keystone_authtoken]); needs snapmanage[keystone]"),
        ],
        help="How callers prove who they are.",
    ),
    cfg.BoolOpt(
        "noauth_anywhere",
        default=False,
        help="Allow noauth on any address, for any caller: only behind a proxy that authenticates.",
    ),
    cfg.IntOpt(
        "osapi_max_limit",
        default=1000,
        min=1,
        help="Most entries on a page. Higher makes larger answers and more work a request; lower makes more pages.",
    ),
    cfg.IntOpt(
        "max_request_body_size",
        default=114688,
        min=1024,
        help="Bytes of the largest body. Higher lets clients send more into memory; lower refuses large metadata.",
    ),
    cfg.FloatOpt(
        "call_timeout_seconds",
        default=60,
        min=1,
        help="How long a listing waits for its server. Higher keeps threads busy with a stuck backend; lower gives "
        "up on backends that take long to scan.",
    ),
    cfg.FloatOpt(
        "idempotency_key_ttl_seconds",
        default=86400,
        min=1,
        help="How long a request sent with an Idempotency-Key can be sent again without being carried out again. "
        "Higher keeps more rows; lower lets a client that comes back late have its request carried out twice.",
    ),
]

OPERATIONS = [
    cfg.IntOpt(
        "workers",
        default=1,
        min=1,
        help="Processes of snapmanage-volume, each of which serves every backend; one that dies is started again. "
        "Higher uses more processors, for 80 MB, pool_size database connections and driver_calls at a backend each; "
        "lower leaves them to others.",
    ),
    cfg.FloatOpt(
        "lease_seconds",
        default=60,
        min=1,
        help="How long a claim lasts unless it is renewed, which happens three times as often. Higher delays the "
        "take-over from a killed server; lower writes more while drivers work, and lets a short stall lose claims.",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=5,
        min=1,
        help="How often an operation is tried before it ends in error. Higher outlasts longer outages of a backend; "
        "lower tells users sooner.",
    ),
    cfg.FloatOpt(
        "retry_delay_seconds",
        default=1,
        min=0.01,
        help="Rest after the first failure, doubled after each further one. Higher spares a troubled backend; lower "
        "recovers sooner.",
    ),
    cfg.FloatOpt(
        "retry_max_delay_seconds",
        default=60,
        min=0.01,
        help="Longest rest between two attempts. Higher outlasts longer outages; lower ends sooner either way.",
    ),
    cfg.FloatOpt(
        "heartbeat_seconds",
        default=10,
        min=0.1,
        help="How often a server says that it is alive. Higher writes less; lower is needed for a low "
        "service_down_seconds, which should be at least three times as long.",
    ),
    cfg.FloatOpt(
        "service_down_seconds",
        default=60,
        min=1,
        help="Age of a heartbeat from which a server gets no new requests. Higher queues requests for a dead server; "
        "lower refuses them for one that only stalls.",
    ),
    cfg.FloatOpt(
        "scan_interval_seconds",
        default=0.5,
        min=0.05,
        help="How often a server looks by itself for what is due: retries, expired leases. Higher queries less; "
        "lower takes over sooner. New requests don't wait for it.",
    ),
    cfg.FloatOpt(
        "graceful_shutdown_timeout",
        default=60,
        min=0,
        help="Seconds that a server may take to end on SIGTERM, at least 5: what isn't finished in nine tenths of "
        "them is given back. Higher lets slow backends finish; lower stops sooner.",
    ),
    cfg.StrOpt(
        "snapshot_name_template",
        default="snapshot-%s",
        help="Name that a managed snapshot gets on the backend, %s being its id; empty renames nothing.",
    ),
    cfg.StrOpt(
        "volume_name_template",
        default="volume-%s",
        help="Backend name of a volume that only an upstream API knows, %s being its id.",
    ),
]

RELAY = [
    cfg.BoolOpt(
        "in_process",
        default=True,
        help="Run the relay inside snapmanage-api and snapmanage-volume, which sends at once what they write. Off, "
        "snapmanage-relay must run, and everything waits for its next look at the table.",
    ),
    cfg.FloatOpt(
        "interval_seconds",
        default=1,
        min=0.05,
        help="How often the table is read for what was left over. Higher queries less; lower sends sooner what a "
        "killed process or a broken connection left.",
    ),
    cfg.IntOpt(
        "batch",
        default=200,
        min=1,
        help="Messages sent before waiting for their confirms. Higher is faster under load; lower repeats less when "
        "the connection breaks.",
    ),
    cfg.FloatOpt(
        "hold_seconds",
        default=5,
        min=0,
        help="How long other relays leave a message to the process that wrote it. Higher delays what a killed "
        "process left; lower sends more messages twice under load.",
    ),
]

QUOTA = [
    cfg.IntOpt(
        "snapshots",
        default=-1,
        min=-1,
        help="Snapshots that a project may manage; -1 is no limit. Higher lets it go on at once; lower stops new "
        "requests only.",
    ),
    cfg.IntOpt(
        "gigabytes",
        default=-1,
        min=-1,
        help="GiB that a project's managed snapshots may have; -1 is no limit. Higher lets it go on at once; lower "
        "stops new requests only.",
    ),
]

BACKEND = [
    cfg.StrOpt(
        "driver",
        required=True,
        help="Driver of this backend: the name of an entry point in snapmanage.drivers, such as file, lvm, rbd, "
        "qcow2, btrfs, zfs or cinder; docs/drivers.md tells of each.",
    ),
    cfg.IntOpt(
        "driver_calls",
        default=8,
        min=1,
        help="Driver calls under way at once. Higher uses a backend that works in parallel; lower spares one that "
        "doesn't, such as a volume group with its single lock.",
    ),
    cfg.FloatOpt(
        "driver_timeout_seconds",
        default=600,
        min=1,
        help="How long one call of the driver may take: then it is left to itself, and what it was to do is tried "
        "again later, up to max_attempts. Higher waits longer for a backend that hangs; lower gives up calls that "
        "would have come to an end.",
    ),
    cfg.IntOpt(
        "claim_batch",
        default=200,
        min=1,
        help="Operations claimed and settled in one transaction at most. Higher is faster under load; lower shares "
        "better between servers of one backend.",
    ),
    cfg.FloatOpt(
        "inventory_ttl_seconds",
        default=60,
        min=0,
        help="How long what a listing found serves the pages that follow its first one. Higher spares a large "
        "backend scans and keeps the memory longer; lower shows on further pages sooner what has changed.",
    ),
]

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
    """Make a backend's section known; returns its values."""
    conf.register_opts([*BACKEND, *driver_options], group=section)
    return conf[section]


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """What oslo-config-generator writes into the sample; each driver we ship has an example section."""
    from snapmanage.drivers.btrfs import BtrfsDriver
    from snapmanage.drivers.cinder import CinderDriver
    from snapmanage.drivers.fake import FakeDriver
    from snapmanage.drivers.file import FileDriver
    from snapmanage.drivers.lvm import LvmDriver
    from snapmanage.drivers.qcow2 import Qcow2Driver
    from snapmanage.drivers.rbd import RbdDriver
    from snapmanage.drivers.zfs import ZfsDriver

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
