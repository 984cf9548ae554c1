"""Options of operations, of the relay, and of each backend."""

from oslo_config import cfg

OPERATIONS = [
    cfg.IntOpt(
        "workers",
        default=1,
        min=1,
        help="Processes of snapmanage-volume, each of which serves every enabled backend; a process that dies is "
        "restarted. A higher value uses more processors, and for each process 80 MB, pool_size database connections "
        "and driver_calls calls to each backend. A lower value finishes fewer operations per second.",
    ),
    cfg.FloatOpt(
        "lease_seconds",
        default=60,
        min=1,
        help="Seconds after which a claim expires, unless the worker renews it; it does so three times as often. With "
        "a higher value, the operations of a killed server are retried later. A lower value causes more writes during "
        "driver calls, and a short stall of a worker loses its claims.",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=5,
        min=1,
        help="Maximum number of attempts of an operation before it ends in error. With a higher value, operations "
        "survive longer outages of a backend. With a lower value, users learn of a failure sooner.",
    ),
    cfg.FloatOpt(
        "retry_delay_seconds",
        default=1,
        min=0.01,
        help="Seconds between the first two attempts of an operation; the delay doubles after each further failure. A "
        "higher value reduces the load on a failing backend. A lower value recovers sooner.",
    ),
    cfg.FloatOpt(
        "retry_max_delay_seconds",
        default=60,
        min=0.01,
        help="Maximum number of seconds between two attempts. With a higher value, operations survive longer outages. "
        "With a lower value, operations succeed or fail sooner.",
    ),
    cfg.FloatOpt(
        "heartbeat_seconds",
        default=10,
        min=0.1,
        help="Seconds between two heartbeats of a server. A higher value causes fewer writes. A lower value permits a "
        "lower service_down_seconds, which should be at least three times as high.",
    ),
    cfg.FloatOpt(
        "service_down_seconds",
        default=60,
        min=1,
        help="Age in seconds of the last heartbeat from which requests for a server are refused. With a higher value, "
        "requests for a dead server are accepted for longer and wait. With a lower value, requests for a server that "
        "only stalls are refused.",
    ),
    cfg.FloatOpt(
        "scan_interval_seconds",
        default=0.5,
        min=0.05,
        help="Seconds between two queries of a server for due operations: retries and expired claims. A higher value "
        "causes fewer queries. With a lower value, these operations start sooner. New requests do not wait for it.",
    ),
    cfg.FloatOpt(
        "graceful_shutdown_timeout",
        default=60,
        min=0,
        help="Seconds in which a server shuts down after SIGTERM; 5 is the minimum. It releases the claims of "
        "operations that are not finished after nine tenths of this time. With a higher value, slow backends can "
        "finish. With a lower value, the server stops sooner.",
    ),
    cfg.StrOpt(
        "snapshot_name_template",
        default="snapshot-%s",
        help="Name of a managed snapshot on the backend, where %s stands for its id. If it is empty, snapshots are not "
        "renamed.",
    ),
    cfg.StrOpt(
        "volume_name_template",
        default="volume-%s",
        help="Name on the backend of a volume that only an upstream API service knows, where %s stands for its id.",
    ),
]

RELAY = [
    cfg.BoolOpt(
        "in_process",
        default=True,
        help="Run a relay inside snapmanage-api and snapmanage-volume, which sends their messages at once. If it is "
        "off, snapmanage-relay must run, and each message waits for the next query of its relay.",
    ),
    cfg.FloatOpt(
        "interval_seconds",
        default=1,
        min=0.05,
        help="Seconds between two queries of a relay for unsent messages in the outbox. A higher value causes fewer "
        "queries. With a lower value, the messages of a killed process or a broken connection are sent sooner.",
    ),
    cfg.IntOpt(
        "batch",
        default=200,
        min=1,
        help="Messages that a relay sends before it waits for the broker's confirms. A higher value is faster under "
        "load. With a lower value, fewer messages are repeated when the connection breaks.",
    ),
    cfg.FloatOpt(
        "hold_seconds",
        default=5,
        min=0,
        help="Seconds for which other relays leave a message to the process that wrote it. With a higher value, the "
        "messages of a killed process are sent later. With a lower value, more messages are sent twice under load.",
    ),
]

BACKEND = [
    cfg.StrOpt(
        "driver",
        required=True,
        help="Driver of this backend, the name of an entry point in the group snapmanage.drivers: file, lvm, rbd, "
        "qcow2, btrfs, zfs, cinder, or a driver of another package. docs/reference/drivers has a page for each.",
    ),
    cfg.IntOpt(
        "driver_calls",
        default=8,
        min=1,
        help="Maximum number of driver calls of a process at the same time. A higher value uses backends that work in "
        "parallel. A lower value suits backends that do not, such as a volume group with its single lock.",
    ),
    cfg.FloatOpt(
        "driver_timeout_seconds",
        default=600,
        min=1,
        help="Maximum duration of a driver call in seconds. A longer call is abandoned, and its operation is retried "
        "later, up to max_attempts. With a higher value, a hanging backend blocks its threads for longer. With a lower "
        "value, calls are abandoned that would still have finished.",
    ),
    cfg.IntOpt(
        "claim_batch",
        default=200,
        min=1,
        help="Maximum number of operations that a worker claims or settles in one transaction. A higher value is "
        "faster under load. A lower value distributes operations more evenly among the processes of a server.",
    ),
    cfg.BoolOpt(
        "protect_origins",
        default=True,
        help="Refuse to manage a snapshot if its new name would break the tool that made it, such as the base of an "
        "incremental send (docs/reference/origins.md). If it is off, lists still show the origin and the consequence, "
        "and every snapshot can be managed. It has no effect if snapshot_name_template is empty or the driver renames "
        "nothing.",
    ),
    cfg.FloatOpt(
        "inventory_ttl_seconds",
        default=60,
        min=0,
        help="Seconds for which the result of a scan serves further pages of a list of manageable snapshots. A higher "
        "value causes fewer scans of a large backend, and keeps the memory in use for longer. With a lower value, "
        "further pages show changes sooner.",
    ),
]
