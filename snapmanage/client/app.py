"""The program of the client commands: global options, the table of commands, and the connection."""

import argparse
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager

from snapmanage.client.api.connection import connect
from snapmanage.client.commands.applying import Apply
from snapmanage.client.commands.base import ApiCommand, refusing
from snapmanage.client.commands.differing import Diff
from snapmanage.client.commands.listing import List
from snapmanage.client.commands.planning import Plan
from snapmanage.client.commands.reporting import Report
from snapmanage.client.commands.running import BY_SIGNAL
from snapmanage.client.commands.showing import Show
from snapmanage.client.commands.undoing import Undo
from snapmanage.client.commands.watching import Watch
from snapmanage.core.values.text import printable

COMMANDS: Mapping[str, type[ApiCommand]] = {
    "apply": Apply,
    "diff": Diff,
    "list": List,
    "plan": Plan,
    "report": Report,
    "show": Show,
    "undo": Undo,
    "watch": Watch,
}


class ClientApp(App):
    """The client commands of `snapmanage`."""

    NAME = "snapmanage"

    def __init__(self) -> None:
        manager = CommandManager("")
        for name, command in COMMANDS.items():
            manager.add_command(name, command)
        super().__init__("the client commands of snapmanage", version("snapmanage"), manager, deferred_help=True)
        self._connection: Any = None
        if isinstance(self.stdout, io.TextIOWrapper):
            with suppress(OSError):  # a stream that took its file over from another kind of file
                self.stdout.reconfigure(errors="backslashreplace")  # for characters that the encoding lacks

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: Mapping[str, Any] | None = None
    ) -> argparse.ArgumentParser:
        """Return the parser of the global options. An abbreviation could be an option of a command, so it has none."""
        parser: argparse.ArgumentParser = super().build_option_parser(
            description, version, {"allow_abbrev": False} | dict(argparse_kwargs or {})
        )
        parser.add_argument(
            "--os-cloud",
            metavar="CLOUD",
            help="a cloud of clouds.yaml (environment: OS_CLOUD); without it, clouds.yaml or a variable OS_* "
            "the commands use the standalone service on this machine",
        )
        parser.add_argument("--os-region-name", metavar="REGION", help="a region of the cloud")
        return parser

    def configure_logging(self) -> None:
        """Print errors and warnings; the libraries' messages are shown with -v, and their warnings with --debug."""
        super().configure_logging()
        if not self.options.debug:
            warnings.simplefilter("ignore")
        if self.options.verbose_level < 2:
            for library in ("cliff", "keystoneauth", "openstack", "stevedore", "urllib3"):
                logging.getLogger(library).setLevel(logging.ERROR)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_make_printable)

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command; one that has sent requests says by itself how to continue after an interruption."""
        try:
            return int(super().run_subcommand(argv))
        except KeyboardInterrupt:
            self.stderr.write("interrupted; nothing was started\n")
            return BY_SIGNAL

    def connection(self) -> Any:
        """Return openstacksdk's connection, made at the first call."""
        if self._connection is None:
            self._connection = connect(self.options.os_cloud, self.options.os_region_name)
        return self._connection


def _make_printable(record: logging.LogRecord) -> bool:
    """Escape the message of a record: the text of an error may repeat a plan, or an answer of the service."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


def main(arguments: Sequence[str]) -> int:
    """Run a client command, and return its exit code."""
    app = ClientApp()
    refusing(app.parser, COMMANDS[arguments[0]].misuse)
    return int(app.run(list(arguments)) or 0)
