"""A RabbitMQ broker for the tests, with an Erlang port mapper (epmd) of its own."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import amqp

from tests.services.process import LOOPBACK, Program, Service, free_port, give_away, installed
from tests.waiting import until

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in the PATH requires the user rabbitmq
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
PROGRAMS = (SERVER, CONTROL, "epmd")

CONFIGURATION = """\
listeners.tcp.1 = {host}:{port}
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 50MB
"""

# Milliseconds until the broker retries dead letters that found no room; the default is three minutes.
DEAD_LETTERS_AGAIN = "{dead_letter_worker_publisher_confirm_timeout, 1000}"

NODE = "snapmanage@localhost"
CONSUMER_TIMEOUT = 1_800_000  # milliseconds, the default
ERLANG = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ(Service):
    """One node without plugins; tests take names of queues and exchanges from `unique`."""

    node = NODE
    plugins = "[]."
    # Additional lines of rabbitmq.conf, and the content of advanced.config. Channels check for messages that were not
    # acknowledged in time twice a second; the default is once a minute.
    more = ""
    advanced = f"[{{rabbit, [{{channel_tick_interval, 500}}, {DEAD_LETTERS_AGAIN}]}}]."

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.epmd = Program("epmd", folder)
        self.epmd_port = free_port()
        self.distribution_port = free_port()

    @property
    def url(self) -> str:
        """The URL for oslo.messaging."""
        return f"rabbit://guest:guest@{LOOPBACK}:{self.port}//"

    @property
    def amqp_url(self) -> str:
        """The URL for kombu."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}//"

    def prepare(self) -> None:
        self._write("rabbitmq.conf", CONFIGURATION.format(host=LOOPBACK, port=self.port) + self.more)
        self._write("advanced.config", f"{self.advanced}\n")
        self._write("enabled_plugins", f"{self.plugins}\n")
        self._write("rabbitmq-env.conf", "")  # otherwise the broker reads the machine's own file
        self.launch_epmd()

    def launch_epmd(self) -> None:
        self.epmd.launch([installed("epmd"), "-address", LOOPBACK, "-port", str(self.epmd_port)])
        until(lambda: listens(self.epmd_port), "epmd to listen")

    def command(self) -> Sequence[str | Path]:
        return self.inside([SERVER])

    def inside(self, command: Sequence[str]) -> Sequence[str]:
        """Return the command that runs `command` where the broker is installed."""
        return command

    def environment(self) -> Mapping[str, str]:
        return {
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "RUNNING_UNDER_SYSTEMD": "true",  # the shell script becomes the server instead of watching it
        }

    def answers(self) -> bool:
        try:
            with amqp.Connection(f"{LOOPBACK}:{self.port}", connect_timeout=5):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def remembers(self, queue: str) -> bool:
        """Return whether the broker has saved a quorum queue, so that the queue outlives a kill.

        The broker saves a new queue's place a second after the declaration. If it is killed before, the queue answers
        each request after a minute with INTERNAL_ERROR.
        """
        places = self.folder / "mnesia" / self.node / "quorum" / self.node / "names.dets"
        name = f"%2F_{queue}".encode()  # after its length, since the name of one queue may begin with that of another
        return bytes([len(name)]) + name in places.read_bytes()

    def set_consumer_timeout(self, milliseconds: int) -> None:
        """Set how long a consumer may take to acknowledge a message, for channels that are opened from now on."""
        self.control("eval", f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl and return its output; fail unless it succeeds."""
        command = Program("rabbitmqctl", self.folder)
        command.as_nobody = self.as_nobody
        command.log.unlink(missing_ok=True)
        command.launch(self.inside([CONTROL, "--node", self.node, *arguments]), self.environment())
        assert command.process is not None
        assert command.process.wait(60) == 0, command.log_tail()
        return command.log.read_text()

    def close(self) -> None:
        super().close()
        self.epmd.kill()  # never started if the node uses another node's epmd

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        give_away(path)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
