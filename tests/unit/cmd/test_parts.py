"""Assembly of the parts of a process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit import oslo_client
from snapmanage.cmd.wiring import configuration, parts

CALLS = 4


class SlowlyConnected:
    """An RPC client that takes so long to connect that all calls arrive before; each call returns the client."""

    def __init__(self, *arguments: object) -> None:
        threading.Event().wait(0.2)

    def __call__(self, *arguments: Any) -> "SlowlyConnected":
        return self


def test_first_calls_at_the_same_time_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oslo_client, "OsloCaller", SlowlyConnected)
    conf = cfg.ConfigOpts()
    options.register(conf)
    configuration.register_messaging(conf)
    conf([], default_config_files=[])
    caller = parts.LazyCaller(conf, Names())

    with ThreadPoolExecutor(CALLS) as pool:
        answered = set(pool.map(lambda number: caller("server", "method", {}, {}), range(CALLS)))

    assert len(answered) == 1
