"""`snapmanage show`: show the entries of a plan."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snapmanage.client.commands.base import ListCommand
from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume, Skip
from snapmanage.client.plan.file import PlanFile

COLUMNS = ("Do", "Key", "Host", "Volume", "Source", "Name", "Renamed to", "Why", "Text")


class Show(ListCommand):
    """show the entries of a plan; as CSV they can be edited and read by plan --from"""

    hidden = frozenset({"Key", "Name", "Renamed to", "Volume"})
    nothing = "no such entry"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", type=Path, metavar="PLAN", help="file that snapmanage plan has written")
        parser.add_argument("--why", metavar="REASON", help="only entries that are skipped for this reason")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        plan = PlanFile(parsed_args.plan)
        return COLUMNS, (
            row(entry)
            for entry in plan
            if parsed_args.why is None or (isinstance(entry, Skip) and entry.why == parsed_args.why)
        )


def row(entry: Entry) -> tuple[Any, ...]:
    """Return the cells of an entry."""
    match entry:
        case RegisterVolume():
            source = entry.reference.get("source-name")
            return ("register-volume", entry.key, entry.host, entry.key, source, entry.name, None, None, None)
        case Skip():
            return ("skip", None, entry.host, None, entry.source, None, None, entry.why, entry.text)
        case Manage():
            return (
                "manage",
                entry.key,
                entry.host,
                entry.expect.parent,
                entry.source,
                entry.name,
                entry.renamed_to,
                None,
                "; ".join(entry.warnings) or None,
            )
