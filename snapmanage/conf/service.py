"""Options of the service: host name, topics, database, API and quotas."""

import socket

from oslo_config import cfg

DEFAULT = [
    cfg.HostAddressOpt(
        "host",
        default=socket.gethostname(),
        sample_default="storage-1",
        help="Name of this host in host@backend. Records belong to host@backend: after a change, this host does not "
        "serve the existing records of its backends, until the old name is restored.",
    ),
    cfg.HostAddressOpt(
        "cluster",
        sample_default="cluster-1",
        help="Name that replaces host in host@backend on all hosts that serve the same backends. Each host of the "
        "cluster then takes requests for them and continues the operations of a host that died. Every host of the "
        "cluster must reach all enabled backends. Empty means that this host belongs to no cluster.",
    ),
    cfg.ListOpt(
        "enabled_backends",
        default=[],
        help="Names of the sections of the backends that snapmanage-volume serves in one process. Each additional "
        "backend costs a thread, some queries while idle, and driver_calls threads under load.",
    ),
    cfg.StrOpt(
        "origins_file",
        help="Path of a file in YAML with the names of snapshots of further tools, such as a copy of "
        "etc/snapmanage/origins.yaml.sample. snapmanage-volume and snapmanage-api read it when they start; use the "
        "same file on every host. If it is not set, only the built-in tools are recognised.",
    ),
    cfg.StrOpt(
        "volume_topic",
        default="snapmanage-volume",
        help="RPC topic of the servers. API, relay and servers need the same value. Set it to cinder-volume to "
        "receive casts from an API service of Cinder.",
    ),
    cfg.ListOpt(
        "notification_topics",
        default=["notifications"],
        help="Topics to which events are sent, and whose events snapmanage-audit stores. Every event is sent once for "
        "each topic.",
    ),
    cfg.StrOpt(
        "notification_dialect",
        default="own",
        choices=[
            ("own", "send only snapshot.manage.* and snapshot.unmanage.*"),
            ("both", "also send each event under Cinder's name, for existing collectors; doubles the number of events"),
        ],
        help="Names of the events that are sent.",
    ),
    cfg.StrOpt(
        "broker_management_url",
        secret=True,
        help="URL of RabbitMQ's management API, such as https://USER:PASSWORD@HOST:15671 with a user tagged "
        "monitoring. With https, its certificate is checked like that of the broker. If it is set, servers and "
        "snapmanage-audit refuse to start while a policy of the broker could drop messages of their queues, and "
        "snapmanage-manage broker check reports these policies. If it is not set, policies are not checked, since "
        "AMQP does not show them.",
    ),
]

DATABASE = [
    cfg.StrOpt(
        "connection",
        secret=True,
        help="URL of the database, such as sqlite:////var/lib/snapmanage/snapmanage.db, "
        "mysql+pymysql://USER:PASSWORD@HOST/snapmanage or postgresql+psycopg://USER:PASSWORD@HOST/snapmanage. "
        "Parameters of TLS are accepted only if certificate and name of the server are checked: ?ssl_ca=FILE for "
        "MariaDB, ?sslmode=verify-full&sslrootcert=FILE for PostgreSQL. "
        "PostgreSQL may be behind PgBouncer; append ?prepare_threshold=0 to use no prepared statements.",
    ),
    cfg.IntOpt(
        "pool_size",
        default=10,
        min=1,
        help="Database connections that a process keeps open; it opens up to twice as many under load. A higher value "
        "uses more of the connection limit of the database, or of PgBouncer's max_client_conn. With a lower value, "
        "threads wait for a free connection under load.",
    ),
]

API = [
    cfg.StrOpt(
        "listen",
        default="127.0.0.1:8776",
        help="HOST:PORT on which snapmanage-api serves HTTP. With auth_strategy noauth it must be a loopback address, "
        "unless noauth_anywhere is set.",
    ),
    cfg.IntOpt(
        "threads",
        default=16,
        min=1,
        help="Requests that a process of snapmanage-api handles at the same time; slow clients occupy no thread. Half "
        "of the threads may wait for lists of manageable snapshots, and a quarter for the lists of one server; further "
        "lists are answered with 503. A higher value answers more requests while others wait for a backend, and uses "
        "more database connections. With a lower value, requests wait longer under load.",
    ),
    cfg.IntOpt(
        "workers",
        default=1,
        min=1,
        help="Processes of snapmanage-api, which share its port; a process that dies is restarted. A higher value uses "
        "more processors, and 80 MB and pool_size database connections for each process. A lower value serves fewer "
        "requests per second.",
    ),
    cfg.StrOpt(
        "auth_strategy",
        default="noauth",
        choices=[
            ("noauth", "every caller is an administrator; only programs on this host, unless noauth_anywhere is set"),
            (
                "http_basic",
                "user name and password, checked against a file with bcrypt hashes "
                "([oslo_middleware] http_basic_auth_user_file); every user in the file is an administrator",
            ),
            ("keystone", "a token, which Keystone validates ([keystone_authtoken]); needs snapmanage[keystone]"),
        ],
        help="Method by which callers authenticate.",
    ),
    cfg.BoolOpt(
        "noauth_anywhere",
        default=False,
        help="Allow noauth on any address, for any caller, also through a proxy or a UNIX socket. Set it only behind a "
        "proxy that authenticates callers, and that sets or removes X-Auth-Token itself. If it is not set, requests "
        "of other machines, of proxies, and of pages of other origins in a browser are refused.",
    ),
    cfg.IntOpt(
        "wrong_passwords_per_minute",
        default=10,
        min=1,
        help="With http_basic, wrong passwords that a process of snapmanage-api checks for one client address in a "
        "minute; after them it answers 429 to each password from the address that it does not know as right. A higher "
        "value lets a client guess faster. With a lower value, one user's mistakes soon hinder first logins of others "
        "at the same address, such as that of a proxy.",
    ),
    cfg.StrOpt(
        "audit_map_file",
        help="Path of an audit map, such as a copy of etc/snapmanage/api_audit_map.conf. If it is set, each API "
        "request leaves CADF events, by the audit filter of keystonemiddleware (snapmanage[keystone]). They go to the "
        "log, unless [audit_middleware_notifications] driver names another driver of oslo.messaging.",
    ),
    cfg.IntOpt(
        "osapi_max_limit",
        default=1000,
        min=1,
        max=10000,
        help="Maximum number of entries on a page of a list. A higher value makes larger answers and more work for "
        "each request. A lower value makes more pages.",
    ),
    cfg.IntOpt(
        "max_request_body_size",
        default=114688,
        min=1024,
        help="Maximum size of a request body in bytes. A higher value lets clients fill more memory. With a lower "
        "value, requests with large metadata are refused.",
    ),
    cfg.IntOpt(
        "max_batch_body_size",
        default=1048576,
        min=1024,
        help="Maximum size of the body of a batch (POST /os-snapshot-manage/batch) in bytes. A higher value lets "
        "clients fill more memory. With a lower value, clients must send smaller batches.",
    ),
    cfg.FloatOpt(
        "call_timeout_seconds",
        default=60,
        min=1,
        help="Seconds for which a list of manageable snapshots waits for its server. A higher value keeps more threads "
        "of the API waiting while a backend hangs. With a lower value, lists of slow backends answer 503.",
    ),
    cfg.FloatOpt(
        "idempotency_key_ttl_seconds",
        default=86400,
        min=1,
        help="Seconds for which a repeated request with the same Idempotency-Key returns the first result. A higher "
        "value keeps more rows in the database. With a lower value, a client that repeats its request late starts a "
        "second operation.",
    ),
]

QUOTA = [
    cfg.IntOpt(
        "snapshots",
        default=-1,
        min=-1,
        help="Number of snapshots that a project may manage; -1 is no limit. A higher value takes effect at once. A "
        "lower value refuses new requests only; managed snapshots stay managed.",
    ),
    cfg.IntOpt(
        "gigabytes",
        default=-1,
        min=-1,
        help="Total size in GiB of the snapshots that a project may manage; -1 is no limit. A higher value takes "
        "effect at once. A lower value refuses new requests, and running ones whose snapshot proves larger than its "
        "volume; managed snapshots stay managed.",
    ),
    cfg.IntOpt(
        "volumes",
        default=-1,
        min=-1,
        help="Number of volumes that a project may register; -1 is no limit. A higher value takes effect at once. A "
        "lower value refuses new requests only; registered volumes stay registered.",
    ),
    cfg.IntOpt(
        "failed_records",
        default=1000,
        min=-1,
        help="Number of snapshots and volumes of a project that could not be managed and are in error, from which its "
        "requests to manage are refused; -1 is no limit. Unmanaging a snapshot and `snapmanage-manage purge --failed` "
        "reduce the number. With a higher value, a client that repeats failing requests fills more of the database. "
        "With a lower value, a project must remove its failed records sooner.",
    ),
]
