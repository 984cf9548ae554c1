"""The options of snapmanage-exporter."""

from oslo_config import cfg

EXPORTER = [
    cfg.FloatOpt(
        "interval_seconds",
        default=10,
        min=0.1,
        help="Seconds between two readings of the database. A higher value causes fewer queries. With a lower value, "
        "the page is newer. A reading that takes longer than a twentieth of this time makes the pauses longer.",
    ),
]
