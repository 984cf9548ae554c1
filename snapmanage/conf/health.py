"""Options of the probes."""

from oslo_config import cfg

LISTEN = cfg.StrOpt(
    "listen",
    help="HOST:PORT on which a process serves /livez and /readyz, such as 127.0.0.1:8790. Each process on a host needs "
    "a port of its own, so set it with --health-listen or in a file of the process; [metrics] listen may have the same "
    "value. The pages need no login and show the names of backends, queues and errors, so an address that others reach "
    "belongs behind a firewall. If it is not set, the process serves no probes.",
)

HEALTH = [
    LISTEN,
    cfg.FloatOpt(
        "hung_seconds",
        default=300,
        min=1,
        help="Seconds after which a thread that does not finish one turn of its loop counts as hung, so that /livez "
        "fails and systemd's watchdog is not fed. A higher value finds a hung process later. A lower value than the "
        "time-outs of the database and the broker, about 150 seconds, also restarts processes that only wait for them.",
    ),
]
