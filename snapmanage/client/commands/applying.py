"""`snapmanage apply`: carry out a plan."""

import argparse
from collections import Counter
from contextlib import closing
from pathlib import Path

from snapmanage import errors
from snapmanage.client.api import quotas
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.commands import running
from snapmanage.client.commands.base import ApiCommand
from snapmanage.client.events import Reporter
from snapmanage.client.plan import journal
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.plan.journal import Journal, State
from snapmanage.client.plan.tally import Tally
from snapmanage.client.work.applying import Applier, Options, TooManyErrors
from snapmanage.client.work.waiting import Deadline
from snapmanage.core.values.text import readable


class Apply(ApiCommand):
    """carry out a plan, or continue where an earlier run of the command stopped.

    Exit codes: 0 all done, 1 nothing started, 2 some entries failed, 3 timed out or not reachable: run it again,
    130 interrupted: run it again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", type=Path, metavar="PLAN", help="file that snapmanage plan has written")
        parser.add_argument(
            "--max-errors",
            type=running.max_errors,
            metavar="N|P%",
            help="send no further entry after more than N failures, or P%% of the entries (default: no limit)",
        )
        parser.add_argument(
            "--retry",
            action="store_true",
            help="also carry out failed operations again; requires a service with the action retry, as snapmanage has",
        )
        parser.add_argument("--no-wait", action="store_true", help="exit once every entry is accepted")
        running.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        reporter = Reporter(self.app.stderr, parsed_args.log_json)
        plan = PlanFile(parsed_args.plan)
        api, features = self.connect_and_discover()
        require_place(plan, api)
        if parsed_args.retry and not features.retries:
            raise errors.InvalidRequest(
                "--retry: this service can't retry failed operations; unmanage the failed snapshots with undo PLAN "
                "--only failed, then make a new plan and apply it"
            )
        command = self.again(parsed_args.plan, *(["--retry"] if parsed_args.retry else []))
        with (
            journal.opened(parsed_args.plan, plan.header.plan_id) as opened,
            running.resumable(api, reporter, command) as ending,
        ):
            ending.code = self._apply(parsed_args, plan, api, features, opened, reporter)
        return ending.code

    def _apply(
        self,
        options: argparse.Namespace,
        plan: PlanFile,
        api: Api,
        features: Features,
        opened: Journal,
        reporter: Reporter,
    ) -> int:
        deadline = Deadline(options.timeout, api.stop)
        chosen = Options(options.parallel, not options.no_wait, options.retry)
        with closing(Applier(api, features, plan, opened, reporter, deadline, chosen)) as applier:
            tally = applier.prepare()
            if tally.snapshots or tally.retries:
                self._show(tally, api, reporter)
                running.require_yes(options.yes, reporter, self.app.stdin)
            applier.max_errors = options.max_errors(tally.snapshots + tally.retries) if options.max_errors else None
            code = self._run(applier, reporter, options.no_wait)
        if code == running.SOME_FAILED:
            reporter.hint(f"see the reasons with: {self.again(options.plan, '--failed', command='report')}")
        return code

    def _show(self, tally: Tally, api: Api, reporter: Reporter) -> None:
        for line in tally.lines():
            reporter.line(line)
        if (quota := quotas.snapshots(api)) is not None:
            reporter.line(quota.sentence(tally.snapshots))

    def _run(self, applier: Applier, reporter: Reporter, may_be_pending: bool) -> int:
        try:
            applier.run()
        except TooManyErrors as error:
            applier.resolve()
            reporter.line(str(error))
        totals = applier.totals()
        if totals[State.UNDONE]:
            reporter.line(undone(totals))
        reporter.line(sentence(totals))
        return exit_code(totals, may_be_pending)


def require_place(plan: PlanFile, api: Api) -> None:
    """Raise `InvalidRequest` if the plan was made for another service or another project."""
    made_for, here = (plan.header.endpoint, plan.header.project), (api.endpoint, api.project)
    if made_for != here:
        raise errors.InvalidRequest(
            readable(
                f"the plan was made for {made_for[0]}, and the commands use {here[0]}; choose its cloud and project"
            )
        )


def sentence(totals: "Counter[State | None]") -> str:
    """Return the totals in one line."""
    pending = totals[State.ACCEPTED] + totals[State.SENDING]
    return (
        f"{totals[State.DONE]} managed, {totals[State.FAILED]} failed, {totals[State.UNDONE]} undone, "
        f"{pending} in progress, {totals[None]} not sent"
    )


def undone(totals: "Counter[State | None]") -> str:
    """Return why some entries, or all, are not managed any more."""
    if totals[State.UNDONE] == totals.total():
        return "this plan was undone; make a new plan"
    return "some entries of this plan were undone; make a new plan for them"


def exit_code(totals: "Counter[State | None]", may_be_pending: bool) -> int:
    if totals[State.FAILED] or totals[State.UNDONE]:
        return running.SOME_FAILED
    if totals[None] or totals[State.SENDING] or (totals[State.ACCEPTED] and not may_be_pending):
        return running.UNFINISHED
    return running.ALL_DONE
