"""snapmanage: run everything on one machine, or show a demo."""

import argparse
import importlib.metadata
import sys
from pathlib import Path

from snapmanage.cmd.process import running


@running.program
def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command == "demo":
        from snapmanage.cmd import demo

        return demo.run()
    from snapmanage.cmd import standalone

    standalone.run(arguments.data_dir, arguments.listen)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="snapmanage", description=sys.modules["snapmanage"].__doc__)
    parser.add_argument("--version", action="version", version=importlib.metadata.version("snapmanage"))
    commands = parser.add_subparsers(dest="command", required=True)
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
    commands.add_parser("demo", help="show the main task step by step on a temporary folder")
    return parser
