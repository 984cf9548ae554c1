"""The common part of the commands: the connection, the escaping of foreign text, and exit codes."""

import argparse
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NoReturn

from cliff.command import Command
from cliff.lister import Lister

from snapmanage.client.api import features, scans
from snapmanage.client.api.connection import block_storage
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.plan.cells import cell
from snapmanage.client.reports import tables
from snapmanage.client.reports.csv_lists import CsvList
from snapmanage.core.values.text import printable

# Formats in which a program gets texts unchanged.
_EXACT = frozenset({"json", "yaml"})


class ApiCommand(Command):
    """A command that sends requests. `openstack` has the connection in its client manager, `snapmanage` makes one.

    `misuse` is the exit code for wrong options. argparse has 2, which says something else about a plan.
    """

    misuse: ClassVar[int] = 1

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        return refusing(parser, self.misuse)

    def connect(self) -> Api:
        """Return the API of the cloud that the options name."""
        app: Any = self.app
        manager = getattr(app, "client_manager", None)
        connection = app.connection() if manager is None else manager.sdk_connection
        return Api(block_storage(connection))

    def get_epilog(self) -> str:
        """Return no text: cliff's own one names the package, for which it reads the metadata of all packages."""
        return ""

    def again(self, *arguments: object, command: str | None = None) -> str:
        """Return the command line that runs this command again, or another command beside it, for a shell."""
        program, words = getattr(self.app, "NAME", "snapmanage"), str(self.cmd_name).split()
        return shlex.join([program, *words[:-1], command or words[-1], *map(str, arguments)])

    def connect_and_discover(self) -> tuple[Api, Features]:
        api = self.connect()
        return api, features.discover(api)


class ListCommand(ApiCommand, Lister):
    """A command that prints rows, and whose exit code is `exit_code`.

    A table has no columns of `hidden` unless `-c` names them, and those of `secondary` only where they fit. In place of
    a table without rows, `nothing` is written to standard error.
    """

    exit_code = 0
    hidden: frozenset[str] = frozenset()
    secondary: ClassVar[tuple[str, ...]] = ()
    nothing: ClassVar[str] = ""

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.exit_code

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        if parsed_args.formatter in _EXACT:
            return super().produce_output(parsed_args, column_names, data)
        shown = printable
        if parsed_args.formatter == "csv":
            self.formatter, shown = CsvList(), cell
        elif parsed_args.formatter == "table":
            self.formatter = tables.Table(self.hidden, self.secondary, self.nothing, self.app.stderr)
        return super().produce_output(parsed_args, [shown(name) for name in column_names], _rows(data, shown))


def _rows(rows: Iterable[Sequence[Any]], shown: Callable[[str], str]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield tuple(shown(each) if isinstance(each, str) else "" if each is None else each for each in row)


def refusing(parser: argparse.ArgumentParser, code: int) -> argparse.ArgumentParser:
    """Let the parser exit with a code if the options are wrong."""

    def refuse(message: str) -> NoReturn:
        parser.exit(code, f"{parser.format_usage()}{parser.prog}: error: {message}\n")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def add_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="HOST@BACKEND",
        help="a backend; may be repeated (default: all backends that the service lists)",
    )


def hosts(api: Api, options: argparse.Namespace) -> list[str]:
    """Return the hosts of the options, or all hosts of the service."""
    return options.host or scans.hosts(api)
