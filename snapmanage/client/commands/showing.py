"""`snapmanage show`: show the entries of a plan."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snapmanage.client.commands.base import ListCommand
from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume, Skip
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.plan.rows import METADATA
from snapmanage.core.values.text import printable

COLUMNS = ("Do", "Key", "Host", "Volume", "Source", "Name", "Renamed to", "Why", "Text", "Description")


class Show(ListCommand):
    """show the entries of a plan; as CSV they can be edited and read by plan --from"""

    hidden = frozenset({"Description", "Key", "Name", "Renamed to", "Volume"})
    nothing = "no such entry"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", type=Path, metavar="PLAN", help="file that snapmanage plan has written")
        parser.add_argument("--why", metavar="REASON", help="only entries that are skipped for this reason")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        plan, why = PlanFile(parsed_args.plan), parsed_args.why
        keys = metadata_keys(plan) if why is None else []
        columns = [f"{METADATA}{key}" for key in keys]
        self.hidden |= frozenset(map(printable, columns))
        chosen = (entry for entry in plan if why is None or (isinstance(entry, Skip) and entry.why == why))
        return (*COLUMNS, *columns), (row(entry, keys) for entry in chosen)


def metadata_keys(plan: Iterable[Entry]) -> list[str]:
    """Return the keys of the metadata that entries have, in the order of the plan."""
    return list(dict.fromkeys(key for entry in plan if isinstance(entry, Manage) for key in entry.metadata))


def row(entry: Entry, keys: Iterable[str] = ()) -> tuple[Any, ...]:
    """Return the cells of an entry: those of `COLUMNS`, and its metadata with the keys."""
    cells = _cells(entry)
    metadata = entry.metadata if isinstance(entry, Manage) else {}
    return (*(cells.get(column) for column in COLUMNS), *(metadata.get(key) for key in keys))


def _cells(entry: Entry) -> Mapping[str, Any]:
    match entry:
        case RegisterVolume():
            source = entry.reference.get("source-name")
            return {
                "Do": "register-volume",
                "Key": entry.key,
                "Host": entry.host,
                "Volume": entry.key,
                "Source": source,
                "Name": entry.name,
            }
        case Skip():
            return {"Do": "skip", "Host": entry.host, "Source": entry.source, "Why": entry.why, "Text": entry.text}
        case Manage():
            return {
                "Do": "manage",
                "Key": entry.key,
                "Host": entry.host,
                "Volume": entry.expect.parent,
                "Source": entry.source,
                "Name": entry.name,
                "Renamed to": entry.renamed_to,
                "Text": "; ".join(entry.warnings) or None,
                "Description": entry.description,
            }
