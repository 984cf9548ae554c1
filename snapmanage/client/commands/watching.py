"""`snapmanage watch`: show the progress of a plan, or of all snapshots of the project."""

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

from snapmanage.client.api.http import Api
from snapmanage.client.commands import running
from snapmanage.client.commands.base import ApiCommand
from snapmanage.client.events import Reporter
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.waiting import Deadline
from snapmanage.core.values.text import printable

STATUSES = ("creating", "available", "unmanaging", "error")
PENDING = ("creating", "unmanaging")
LAST_ERRORS = 3


@dataclass(frozen=True)
class Sample:
    """The number of records in each status at a time in seconds."""

    at: float
    counts: dict[str, int]

    @property
    def pending(self) -> int:
        return sum(self.counts[status] for status in PENDING)


class Watch(ApiCommand):
    """show the number of snapshots in each status, the rate and the time left, until none is in progress"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--plan", type=Path, metavar="PLAN", help="only the snapshots of this plan")
        parser.add_argument(
            "--interval", type=running.seconds, default=2.0, metavar="SECONDS", help="default: %(default)s"
        )
        parser.add_argument("--timeout", type=running.seconds, metavar="SECONDS", help="exit with 3 after this time")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        label = PlanFile(parsed_args.plan).header.label if parsed_args.plan else None
        api = self.connect()
        reporter = Reporter(self.app.stderr)
        with running.resumable(api, reporter, self.again()) as ending:
            self._watch(api, LabelledRecords(api, label), parsed_args)
        return ending.code

    def _watch(self, api: Api, records: LabelledRecords, options: argparse.Namespace) -> None:
        deadline = Deadline(options.timeout, api.stop)
        first = None
        for _ in itertools.count():
            deadline.check()
            sample = Sample(time.monotonic(), {status: records.count(status) for status in STATUSES})
            first = first or sample
            self.app.stdout.write(sentence(first, sample) + "\n")
            self.app.stdout.flush()
            if not sample.pending:
                break
            api.stop.wait(options.interval)
        for record in itertools.islice(records.snapshots(status="error"), LAST_ERRORS):
            reason = record.reason or records.reason(record.record_id)[1]
            self.app.stdout.write(printable(f"error: {record.record_id} {record.name}: {reason}") + "\n")


def sentence(first: Sample, now: Sample) -> str:
    """Return the counts, with the rate since the first sample and the time left."""
    counts = ", ".join(f"{count} {status}" for status, count in now.counts.items())
    seconds, settled = now.at - first.at, first.pending - now.pending
    if settled <= 0 or seconds <= 0:
        return counts
    rate = settled / seconds
    return f"{counts}; {rate:.1f} a second, {now.pending / rate:.0f} s left"
