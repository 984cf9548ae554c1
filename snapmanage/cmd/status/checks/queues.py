"""The exchange and the queues of this host's processes are as this version declares them."""

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.bus.rabbit import comparing
from snapmanage.cmd.wiring import broker, configuration, parts


def check(conf: cfg.ConfigOpts) -> Result:
    names = configuration.names(conf)
    topology = parts.topology(conf, names)
    keys = list(dict.fromkeys([*broker.server_keys(conf, names), *names.event_keys()]))
    with broker.connected(conf) as connection:
        problems = comparing.problems(connection, topology, keys)
    if not problems:
        return Result(Code.SUCCESS)
    code = Code.FAILURE if any(problem.severe for problem in problems) else Code.WARNING
    return Result(code, " ".join(f"{problem.text}." for problem in problems))
