"""`snapmanage-manage upstream` and `stuck` show the outcomes that the upstream API has not taken."""

from collections.abc import Sequence
from datetime import timedelta

from snapmanage.core.records import Status
from snapmanage.core.upstream import Report, RequestKind
from snapmanage.store import records, upstream
from snapmanage.store.engine.database import connect
from tests import examples
from tests.functional.cmd.programs import Standalone, manage, refusal

LATER = timedelta(hours=1)


def stopped_with(standalone: Standalone, *statuses: str) -> Sequence[Report]:
    """Start and end a deployment, and write a refused and further reports; return them."""
    standalone.start()
    standalone.end()
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    now = db.now()
    owed = [
        Report(
            examples.new_id(), examples.new_id(), "p", RequestKind.MANAGE, status, now - LATER + timedelta(seconds=n)
        )
        for n, status in enumerate(statuses)
    ]
    db.write(lambda conn, _: upstream.add(conn, owed))
    db.write(lambda conn, _: upstream.retry(conn, now, [each.id for each in owed[1:]]))
    db.close()
    return owed


def test_reports_are_listed_retried_and_dropped(standalone: Standalone) -> None:
    refused, waiting = stopped_with(standalone, "available", "error")

    listed = manage(standalone, "upstream", "list").stdout.splitlines()
    retried = manage(standalone, "upstream", "retry")
    dropped = manage(standalone, "upstream", "drop", waiting.id)

    assert [line.split()[:2] for line in listed] == [[each.id, each.snapshot_id] for each in (refused, waiting)]
    assert ("refused" in listed[0], "0 attempts, the next at" in listed[1]) == (True, True)
    assert retried.stdout == "Sending 1 outcomes again.\n"
    assert dropped.stdout == f"Deleted outcome {waiting.id}.\n"
    assert manage(standalone, "upstream", "retry", refused.id).stdout == f"Sending outcome {refused.id} again.\n"
    assert manage(standalone, "upstream", "list").stdout.split()[0] == refused.id


def test_unknown_outcome_is_refused_with_the_remedy(standalone: Standalone) -> None:
    stopped_with(standalone)

    for action in ("retry", "drop"):
        assert "`upstream list` shows all that wait" in refusal(manage(standalone, "upstream", action, "nothing"))
    assert "[upstream] endpoint is not set" in refusal(manage(standalone, "upstream", "report"))


def test_old_reports_are_stuck(standalone: Standalone) -> None:
    refused, waiting = stopped_with(standalone, "available", "error")

    ended = manage(standalone, "stuck")

    assert ended.returncode == 2
    first, second = ended.stdout.splitlines()
    assert f"Snapshot {refused.snapshot_id} is not reported as available to the upstream API since" in first
    assert "it has refused it" in first
    assert waiting.snapshot_id in second
    assert "[upstream] endpoint is not set" in second


def test_unmanaged_snapshots_of_the_upstream_are_listed(standalone: Standalone) -> None:
    standalone.start()
    standalone.end()
    db = connect(f"sqlite:///{standalone.folder}/snapmanage.db")
    gone = {"status": Status.DELETED, "deleted_at": db.now()}
    asked = examples.snapshot(id=examples.new_id(), upstream="cinder", **gone)
    other = examples.snapshot(id=examples.new_id(), **gone)
    db.write(lambda conn, _: records.insert_many(conn, [asked, other]))
    db.close()

    listed = manage(standalone, "upstream", "unmanaged")

    assert listed.stdout.split()[:2] == [asked.id, asked.requester.project_id]
    assert other.id not in listed.stdout
