"""One attempt to deliver a report."""

from snapmanage import errors
from snapmanage.core import upstream as rules
from snapmanage.core.upstream import ACCEPTED, Report, Result, Step, Verdict
from snapmanage.upstream.client import UpstreamClient


def deliver(report: Report, upstream: UpstreamClient) -> Verdict:
    """Try to make the upstream show the outcome.

    A repeated attempt finds the status that an earlier one has set, so its result is `TAKEN` again.
    """
    try:
        return _deliver(report, upstream)
    except errors.Unavailable as error:
        return Verdict(Result.AWAY, str(error))


def _deliver(report: Report, upstream: UpstreamClient) -> Verdict:
    refused = ""
    if rules.first_step(report) is Step.UPDATE:
        answer = upstream.update(report)
        if answer.status == ACCEPTED:
            return Verdict(Result.TAKEN)
        if answer.status != 400:
            return rules.judge(report, answer)
        refused = rules.explanation(answer.body)
    shown = upstream.look(report)
    if shown.status != 200:
        return rules.judge(report, shown)
    seen = rules.status_shown(shown.body)
    if seen is None:
        return Verdict(Result.AWAY, "the answer shows no snapshot with a status; check [upstream] endpoint")
    match rules.next_step(report, seen):
        case Step.RESET:
            answer = upstream.reset(report)
            return Verdict(Result.TAKEN) if answer.status == ACCEPTED else rules.judge(report, answer)
        case Step.DONE:
            return Verdict(Result.TAKEN)
        case Step.MOOT:
            return Verdict(Result.MOOT, f"its status is {rules.explanation(seen)}")
    return Verdict(Result.REFUSED, refused)
