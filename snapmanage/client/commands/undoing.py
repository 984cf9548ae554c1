"""`snapmanage undo`: unmanage the snapshots of a plan."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from snapmanage import errors
from snapmanage.client.api.http import Api
from snapmanage.client.api.posting import Poster
from snapmanage.client.commands import running, selectors
from snapmanage.client.commands.applying import require_place
from snapmanage.client.commands.base import ApiCommand
from snapmanage.client.events import Reporter
from snapmanage.client.plan import journal
from snapmanage.client.plan.entries import LABEL, LABEL_KEY, Header, Manage
from snapmanage.client.plan.file import PlanFile, write_line
from snapmanage.client.plan.journal import Journal
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.members import Members
from snapmanage.client.work.undoing import Choice, Undoer, report_line
from snapmanage.client.work.waiting import Deadline
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.text import numbered, printable
from snapmanage.files import new_file

SAMPLES = 10
TIME_SELECTORS = "--older-than, --newer-than, --created-before, --created-after, --latest and --keep"


class Undo(ApiCommand):
    """unmanage the snapshots of a plan, so that their old names return; a report is written first.

    The records are found by their label, so each user with the right to unmanage snapshots of the project can undo a
    plan on any machine. Exit codes: 0 all done, 1 nothing started, 2 some snapshots remain, 3 timed out or not
    reachable: run it again, 130 interrupted.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "plan",
            metavar="PLAN|ID",
            help="file that snapmanage plan has written, or the id of a plan, as the metadata adopted-by of its "
            "snapshots show it",
        )
        parser.add_argument("--only", choices=["failed"], help="only records in error")
        parser.add_argument("--keep-volumes", action="store_true", help="leave the volumes of the plan registered")
        running.add_arguments(parser)
        selectors.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        reporter = Reporter(self.app.stderr, parsed_args.log_json)
        criteria, plan = selectors.criteria(parsed_args), _plan_or_id(parsed_args.plan)
        times = _times(plan, reporter) if criteria.needs_times else {}
        choice = Choice(criteria, parsed_args.only == "failed", times)
        api, features = self.connect_and_discover()
        header = _header(plan, api)
        path = plan.path if isinstance(plan, PlanFile) else Path(plan)
        command = self.again(parsed_args.plan)
        with (
            _journal(path, header.plan_id) as opened,
            running.resumable(api, reporter, command) as ending,
        ):
            poster, deadline = Poster(api, features, header), Deadline(parsed_args.timeout, api.stop)
            members = Members(plan) if isinstance(plan, PlanFile) else None
            records = LabelledRecords(api, header.label, members)
            undoer = Undoer(api, poster, records, reporter, deadline)
            with undoer.chosen:
                ending.code = self._undo(parsed_args, path, undoer, choice, opened, reporter)
                _warn_of_foreign(records, header, reporter)
        return ending.code

    def _undo(
        self,
        options: argparse.Namespace,
        path: Path,
        undoer: Undoer,
        choice: Choice,
        opened: Journal | None,
        reporter: Reporter,
    ) -> int:
        statuses = undoer.prepare(choice, options.keep_volumes)
        if statuses or undoer.volumes:
            report = _write_report(path, undoer)
            counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
            snapshots = f"{numbered(statuses.total(), 'snapshot')} ({counts})" if statuses else "no snapshots"
            volumes = numbered(len(undoer.volumes), "volume")
            reporter.line(f"{snapshots} and {volumes} to unmanage; {report} lists them")
            running.require_yes(options.yes, reporter, self.app.stdin)
        remaining = undoer.run(options.parallel, opened)
        for record_id, reason in list(remaining.items())[:SAMPLES]:
            reporter.line(f"snapshot {record_id} remains: {reason}")
        reporter.line(f"{statuses.total() - len(remaining)} unmanaged, {len(remaining)} remain")
        if undoer.volumes and not remaining:
            reporter.line("volumes: {} unmanaged, {} kept".format(*undoer.unmanage_volumes(options.parallel)))
        return running.SOME_FAILED if remaining else running.ALL_DONE


def _times(plan: PlanFile | str, reporter: Reporter) -> dict[str, datetime]:
    """Return the times of a plan's snapshots by the keys of their entries, and warn if it lacks some.

    Raise `InvalidRequest` if it has none: a record does not show the time of its snapshot.
    """
    if isinstance(plan, str):
        raise errors.InvalidRequest(
            "the records of a plan do not show when their snapshots were made: give the file of the plan instead of "
            f"its id, or omit {TIME_SELECTORS}"
        )
    entries = {entry.key: entry.time for entry in plan if isinstance(entry, Manage)}
    times = {key: time for key, time in entries.items() if time is not None}
    if entries and not times:
        raise errors.InvalidRequest(f"the plan has no times, since the service showed none: omit {TIME_SELECTORS}")
    if len(times) < len(entries):
        reporter.line(
            f"warning: the plan has no time for {len(entries) - len(times)} of {len(entries)} snapshots: no age "
            "selects them, and --latest takes them for the oldest"
        )
    return times


def _warn_of_foreign(records: LabelledRecords, header: Header, reporter: Reporter) -> None:
    if records.foreign:
        some = ", ".join(sorted(records.foreign)[:SAMPLES])
        reporter.line(
            f"{numbered(len(records.foreign), 'record has', 'records have')} the metadata {LABEL_KEY}: {header.label}, "
            f"but no entry in the plan; not unmanaged: {some}; undo {header.plan_id} unmanages all"
        )


def _plan_or_id(text: str) -> PlanFile | str:
    """Return the plan in a file, or the id of a plan if the text is a UUID or a label, and no such file exists."""
    path = Path(text)
    try:
        plan_id = parse_uuid("plan", text.removeprefix(LABEL))
    except errors.InvalidRequest:
        return PlanFile(path)
    return PlanFile(path) if path.exists() else plan_id


def _header(plan: PlanFile | str, api: Api) -> Header:
    """Return the first line of a plan; raise `InvalidRequest` if the plan belongs to another project."""
    if isinstance(plan, PlanFile):
        require_place(plan, api)
        return plan.header
    header = Header(plan, "", api.endpoint, api.project, ())
    records = LabelledRecords(api, header.label)
    if not any(True for found in (records.snapshots, records.volumes) for _ in found(limit="1")):
        raise errors.InvalidRequest(
            f"no snapshot or volume of this project has the metadata {LABEL_KEY}: {header.label}; choose the cloud and "
            "project of the plan"
        )
    return header


@contextmanager
def _journal(plan: Path, plan_id: str) -> Iterator[Journal | None]:
    """Open the journal if there is one: without it the label suffices."""
    exists = plan.with_name(plan.name + journal.SUFFIX).exists()
    with journal.opened(plan, plan_id) if exists else nullcontext() as opened:
        yield opened


def _write_report(plan: Path, undoer: Undoer) -> str:
    """Write the names and ids of all records that will be unmanaged into a new file; return its name."""
    path = plan.with_name(f"{plan.name}.undo-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.jsonl")
    with new_file(path) as file:
        for kind, records in (("volume", undoer.volumes), ("snapshot", undoer.chosen)):
            for record in records:
                write_line(file, report_line(kind, record))
    return printable(str(path))
