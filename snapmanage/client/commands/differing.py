"""`snapmanage diff`: show whether the backends have changed since a plan was made."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snapmanage.client.commands.applying import require_place
from snapmanage.client.commands.base import ListCommand
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.work.comparing import differences
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.selecting import scan

SAME, DIFFERS, TROUBLE = 0, 1, 2
COLUMNS = ("Difference", "Host", "Name", "Text")


class Diff(ListCommand):
    """show whether the backends have changed since a plan was made.

    Exit codes: 0 same, 1 differs, 2 trouble.
    """

    misuse = TROUBLE
    nothing = "the backends have not changed since the plan was made"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", type=Path, metavar="PLAN", help="file that snapmanage plan has written")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            return super().run(parsed_args)
        except BrokenPipeError:
            raise
        except Exception as error:  # an error of any kind is no difference
            self.app.LOG.error(error, exc_info=self.app.options.debug)
            return TROUBLE

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        return COLUMNS, self._rows(PlanFile(parsed_args.plan))

    def _rows(self, plan: PlanFile) -> Iterator[tuple[Any, ...]]:
        api = self.connect()
        require_place(plan, api)
        renamed = LabelledRecords(api, plan.header.label).volume_names()
        with scan(api, plan.header.hosts, volume_names=renamed) as scans:
            if {host: digest.as_json() for host, digest in scans.digests.items()} == plan.header.scans:
                return
            for each in differences(api, plan, scans):
                self.exit_code = DIFFERS
                yield each.kind.value, each.host, each.name, each.text
