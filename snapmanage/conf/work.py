"""Options of how work is done: operations, the relay, and each backend."""

from oslo_config import cfg

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

BACKEND = [
    cfg.StrOpt(
        "driver",
        required=True,
        help="Driver of this backend: the name of an entry point in snapmanage.drivers, such as file, lvm, rbd, "
        "qcow2, btrfs, zfs or cinder; docs/reference/drivers has a page for each.",
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
