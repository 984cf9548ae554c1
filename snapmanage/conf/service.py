"""Options of what speaks to the outside: this machine's name, topics, database, API and quotas."""

import socket

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
    cfg.StrOpt(
        "broker_management_url",
        secret=True,
        help="URL of RabbitMQ's management API, such as http://USER:PASSWORD@HOST:15672 with a user tagged monitoring. "
        "With it, servers and snapmanage-audit refuse to start while a policy of the broker could drop messages of "
        "their queues for good, and snapmanage-manage broker check says which. Without it, nobody looks at policies: "
        "AMQP doesn't show them.",
    ),
]

DATABASE = [
    cfg.StrOpt(
        "connection",
        secret=True,
        help="URL of the database, such as sqlite:////var/lib/snapmanage/snapmanage.db, "
        "mysql+pymysql://USER:PASSWORD@HOST/snapmanage or postgresql+psycopg://USER:PASSWORD@HOST/snapmanage. "
        "PostgreSQL may be behind PgBouncer; add ?prepare_threshold=0 to use no prepared statements.",
    ),
    cfg.IntOpt(
        "pool_size",
        default=10,
        min=1,
        help="Connections that a process keeps open; twice as many at peaks. Higher takes more of the limit of the "
        "database, or of PgBouncer's max_client_conn; lower lets threads wait for one another.",
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
