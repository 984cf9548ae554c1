"""`snapmanage report`: show the outcomes of a plan by reason, with examples and remedies."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.client.commands.applying import require_place
from snapmanage.client.commands.base import ListCommand
from snapmanage.client.plan import journal
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.plan.journal import Outcome
from snapmanage.client.reports.formats import FORMATS
from snapmanage.client.reports.outcomes import COLUMNS, GROUP_COLUMNS, groups, lines
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.members import Members
from snapmanage.client.work.verdicts import had_record, unmanaged
from snapmanage.files import new_file


class Report(ListCommand):
    """show the outcomes of a plan by reason, with an example and a remedy for each"""

    hidden = frozenset({"Id", "Name", "Renamed to"})
    nothing = "no snapshot failed"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", type=Path, metavar="PLAN", help="file that snapmanage plan has written")
        parser.add_argument("--failed", action="store_true", help="show each snapshot that failed, with its reason")
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="also write a new file with all snapshots: .html, .csv or .json"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        plan, out = PlanFile(parsed_args.plan), parsed_args.out
        if out is not None and out.suffix not in FORMATS:
            raise errors.InvalidRequest(f"--out must end in {', '.join(FORMATS)}")
        outcomes = self._outcomes(plan)
        found = groups(lines(plan, outcomes))
        if out is not None:
            with new_file(out) as file:
                FORMATS[out.suffix](file, plan.header, found, lines(plan, outcomes, parsed_args.failed))
        if parsed_args.failed:
            return COLUMNS, (line.cells() for line in lines(plan, outcomes, only_failed=True))
        return GROUP_COLUMNS, (group.cells() for group in found)

    def _outcomes(self, plan: PlanFile) -> dict[str, Outcome]:
        """Return the outcomes that the records show, and those of the journal for the entries without a record."""
        noted = journal.read(plan.path, plan.header.plan_id)
        try:
            api = self.connect()
            require_place(plan, api)
            seen = LabelledRecords(api, plan.header.label, Members(plan)).outcomes("snapshots")
        except errors.Unavailable as error:
            self.app.stderr.write(f"{error}; the report shows the journal\n")
            return noted
        gone = {key: unmanaged(each) for key, each in noted.items() if key not in seen and had_record(each)}
        return noted | gone | {key: _detailed(outcome, noted.get(key)) for key, outcome in seen.items()}


def _detailed(seen: Outcome, noted: Outcome | None) -> Outcome:
    """Return the outcome with the reason; the journal may have one that the list of records does not show."""
    return noted if noted is not None and noted.state is seen.state and seen.text is None else seen
