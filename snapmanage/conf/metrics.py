"""The options of metrics for Prometheus."""

from oslo_config import cfg

METRICS = [
    cfg.StrOpt(
        "listen",
        help="Address of the page /metrics, HOST:PORT. Without it, there is no such page. Each process needs a port of "
        "its own, so set it with --metrics-listen or in a file of the process. The page has no authentication: use a "
        "loopback address, or one that only Prometheus can reach.",
    ),
]
