"""`snapmanage list`: show the snapshots that a backend holds."""

import argparse
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from snapmanage.client.commands import selectors
from snapmanage.client.commands.base import ListCommand, add_hosts, hosts
from snapmanage.client.selection.found import Found
from snapmanage.client.work.planning import rename_warning
from snapmanage.client.work.selecting import scan
from snapmanage.core.values.text import cut, printable

COLUMNS = ("Host", "Name", "Volume", "Size", "Created", "Origin", "Class", "Safe", "Reason", "Warning")
# Warnings above a table.
SAMPLES = 10


class List(ListCommand):
    """list snapshots on backends, with the reason why some of them can't be managed"""

    # The warnings of a table are written before it, each once: many rows have the same long one.
    hidden = frozenset({"Safe", "Warning"})
    secondary = ("Class", "Size", "Created")
    nothing = "no snapshot found"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_hosts(parser)
        parser.add_argument("--safe-only", action="store_true", help="only snapshots that can be managed now")
        selectors.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        criteria = selectors.criteria(parsed_args)
        return COLUMNS, self._rows(parsed_args, criteria)

    def _rows(self, options: argparse.Namespace, criteria: Any) -> Iterator[tuple[Any, ...]]:
        api, is_table = self.connect(), options.formatter == "table"
        warnings: Counter[str] = Counter()
        with scan(api, hosts(api, options)) as scans:
            for found in scans.selected(criteria):
                if found.is_safe or not options.safe_only:
                    warnings.update(filter(None, [_warning(found)]))
                    yield _row(found, is_table)
            if note := scans.note(criteria):
                self.app.stderr.write(f"warning: {note}\n")
        for text, count in warnings.most_common(SAMPLES if is_table else 0):
            self.app.stderr.write(f"warning for {count}: {cut(printable(text))}\n")


def _row(found: Found, is_short: bool) -> tuple[Any, ...]:
    created = None
    if found.made_at is not None:
        seconds = found.made_at.isoformat(timespec="seconds")
        created = f"{found.made_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if is_short else seconds
    return (
        found.host,
        found.name,
        found.parent,
        found.size_gb,
        created,
        found.origin,
        found.origin_class,
        found.is_safe,
        found.reason_not_safe,
        _warning(found),
    )


def _warning(found: Found) -> str | None:
    """Return the consequence of a new name, unless the reason why it is not safe to manage has it."""
    is_reason = found.rename == "refuse" and not found.is_safe
    return None if found.is_managed or is_reason else rename_warning(found)
