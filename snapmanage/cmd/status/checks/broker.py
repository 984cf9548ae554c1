"""The broker is new enough."""

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.bus.rabbit.topology import DEAD_LETTERS_AT_LEAST_ONCE, version_of
from snapmanage.cmd.wiring.broker import connected

LOWEST = DEAD_LETTERS_AT_LEAST_ONCE


def check(conf: cfg.ConfigOpts) -> Result:
    with connected(conf) as connection:
        version = version_of(connection)
    needed = ".".join(map(str, LOWEST))
    if not version:
        return Result(Code.WARNING, f"The broker reports no version; check that it is RabbitMQ {needed} or newer.")
    if version < LOWEST:
        has = ".".join(map(str, version))
        return Result(Code.FAILURE, f"The broker is RabbitMQ {has}; upgrade it to {needed} or newer first.")
    return Result(Code.SUCCESS)
