"""Build the bus from a configuration file, as the mains do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.bus import Bus, Publication
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.cmd.wiring import configuration, parts
from tests.services.process import unique

QUORUM = "rabbit_quorum_queue = true"

# Options for lasting queues; snapmanage declares the queues of each choice with other arguments.
CHOICES = {
    "quorum": QUORUM,
    "bounded quorum": f"{QUORUM}\nrabbit_quorum_delivery_limit = 7\nrabbit_quorum_max_memory_length = 1000",
    "classic durable": "rabbit_quorum_queue = false\namqp_durable_queues = true",
    "transient": "rabbit_quorum_queue = false\namqp_durable_queues = false\nrabbit_transient_quorum_queue = false",
}


@contextmanager
def connected(url: str, folder: Path, choice: str = QUORUM) -> Iterator[tuple[Bus, Names]]:
    """Yield a bus on the broker at `url`, and its names, which no other test uses."""
    file = folder / "snapmanage.conf"
    file.write_text(
        f"[DEFAULT]\ntransport_url = {url}\ncontrol_exchange = {unique('exchange')}\n"
        f"volume_topic = {unique('volume')}\nnotification_topics = {unique('notifications')}\n"
        f"[api]\ncall_timeout_seconds = 5\n[oslo_messaging_rabbit]\n{choice}\n"
    )
    # oslo.messaging's client reads some of its options only from cfg.CONF.
    options.register(cfg.CONF)
    configuration.register_messaging(cfg.CONF)
    cfg.CONF([], default_config_files=[str(file)])
    bus, names = parts.connect_bus(cfg.CONF)
    try:
        yield bus, names
    finally:
        bus.close()
        cfg.CONF.reset()


def is_sent(sender: Publisher | Bus, publications: Sequence[Publication]) -> bool:
    try:
        return bool(sender.send(publications))
    except errors.Unavailable:
        return False
