"""snapmanage: run everything on one machine, show a demo, or adopt the snapshots of a storage."""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from snapmanage import errors
from snapmanage.cmd.process import output

# The client commands; the extra `cli` has their libraries.
CLIENT = {
    "list": "list snapshots on backends",
    "plan": "write a plan to manage snapshots",
    "show": "show the entries of a plan",
    "diff": "show whether the backends have changed since a plan was made",
    "apply": "carry out a plan, or continue it",
    "report": "show the outcomes of a plan by reason",
    "undo": "unmanage the snapshots of a plan",
    "watch": "show the progress of a plan",
}
# Libraries of the extra.
LIBRARIES = frozenset({"cliff", "keystoneauth1", "openstack", "os_service_types", "prettytable", "rich", "yaml"})
BY_SIGNAL = 130


def main() -> int:
    """Run the program; Ctrl-C ends it without a traceback, also during its imports, which take up to two seconds."""
    try:
        from snapmanage.cmd.process import running

        return running.program(_run)()
    except KeyboardInterrupt:
        # An interrupted client command that has sent a request ends otherwise, and says how to continue.
        is_client = sys.argv[1:2] and sys.argv[1] in CLIENT
        output.note("interrupted; nothing was started" if is_client else "interrupted")
        return BY_SIGNAL


def _run() -> int:
    if (words := sys.argv[1:]) and words[0] in CLIENT:
        return _run_client(words)
    arguments = _parser().parse_args()
    if arguments.command == "demo":
        from snapmanage.cmd import demo

        return demo.run()
    from snapmanage.cmd import standalone

    standalone.run(arguments.data_dir, arguments.listen, arguments.health_listen)
    return 0


def _run_client(words: Sequence[str]) -> int:
    """Run a client command; raise `ConfigurationError` without the extra."""
    try:
        client = importlib.import_module("snapmanage.client.app")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LIBRARIES:
            raise
        raise errors.ConfigurationError(
            f"the command {words[0]} requires the package {error.name}; run: pip install 'snapmanage[cli]'"
        ) from error
    return int(client.main(words))


class _Parser(argparse.ArgumentParser):
    """A parser that exits with 1 for wrong words: for a misspelt `apply`, 2 would mean that some entries failed."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.format_usage()}{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="snapmanage", description=sys.modules["snapmanage"].__doc__)
    parser.add_argument("--version", action="version", version=importlib.metadata.version("snapmanage"))
    commands = parser.add_subparsers(dest="command", required=True, parser_class=argparse.ArgumentParser)
    alone = commands.add_parser("standalone", help="run API, server, relay and audit in one process")
    alone.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        help="folder for the database, the log, the configuration and the backend; created if missing",
    )
    alone.add_argument(
        "--listen", default="127.0.0.1:8776", help="loopback address of the API, HOST:PORT (default: %(default)s)"
    )
    alone.add_argument(
        "--health-listen", metavar="HOST:PORT", help="address of the probes /livez and /readyz (default: none)"
    )
    commands.add_parser("demo", help="show the main task step by step on a temporary folder")
    for name, text in CLIENT.items():
        commands.add_parser(name, help=text)
    return parser
