"""A bench for the use cases: an application on one database, whose steps a test does one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.outbox import Kind, Message
from snapmanage.core.records import Operation, Record, Snapshot, Volume
from snapmanage.core.usermessages import UserMessage
from snapmanage.core.values.location import UNPLACED
from snapmanage.core.values.retry import Retry
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage import acceptance, claims, requests, settling
from snapmanage.manage.acceptance import OperationRequest, Refusal
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, WorkerId
from snapmanage.manage.rules import Rules
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.store import outbox, records, usermessages
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from snapmanage.volume import steps
from tests import examples
from tests.examples import LEASE, PROJECT, SERVER, VOLUME_ID, new_id

DISK = "volume-1"
DAILY, WEEKLY, MONTHLY = (f"volume-1-snapshot-{number}" for number in (1, 2, 3))
RULES = Rules(LEASE, Retry(3, timedelta(seconds=1), timedelta(seconds=60)), timedelta(hours=1))


@dataclass
class Bench:
    """An application with one fake backend, whose steps a test does one by one; `nudged` holds the relay's messages."""

    db: Database
    clock: FakeClock
    app: Application
    driver: FakeDriver = field(default_factory=FakeDriver)
    nudged: list[Message] = field(default_factory=list)

    def request(self, source: str = DAILY, **fields: Any) -> Snapshot:
        """Request a snapshot, and return it."""
        page = examples.snapshot(source, **{"id": new_id(), "location": UNPLACED} | fields)
        return requests.request_snapshot(self.app, page)

    def accept(self, *snapshots: Record, operation: Operation = Operation.MANAGE) -> Sequence[Refusal]:
        return self.accept_requests(*(OperationRequest(type(each), each.id, operation) for each in snapshots))

    def accept_requests(self, *received: OperationRequest) -> Sequence[Refusal]:
        """Accept requests for a worker that has no room."""
        return acceptance.accept(self.app, received, WorkerId(SERVER, "worker"), room=0).refused

    def claim(self, worker: str = "worker 1", limit: int = 10) -> list[Claimed]:
        return claims.claim(self.app, WorkerId(SERVER, worker), limit)

    def claim_one(self, worker: str = "worker 1") -> Claimed:
        (claimed,) = self.claim(worker)
        return claimed

    def carry_out_step(self, claimed: Claimed) -> Resolution | Outcome:
        """Do the driver's next step."""
        [answer] = steps.carry_out(self.driver, [claimed], self.app.rules.name_template)
        assert answer is not None
        return answer

    def resolve(self, claimed: Claimed) -> list[Snapshot]:
        resolution = self.carry_out_step(claimed)
        assert isinstance(resolution, Resolution)
        return settling.resolve(self.app, [resolution])

    def unwritten_answer(self, step: type[Resolution | Outcome]) -> Resolution | Outcome:
        """Return the driver's answer to the first or the second step of the only claim, which isn't written yet."""
        claimed = self.claim_one()
        if step is Outcome:
            (resolved,) = self.resolve(claimed)
            claimed = Claimed(resolved)
        return self.carry_out_step(claimed)

    def settle(self, *claimed: Claimed) -> list[Record]:
        outcomes = [self.carry_out_step(each) for each in claimed]
        return settling.settle(self.app, [each for each in outcomes if isinstance(each, Outcome)])

    def carry_out_due(self) -> None:
        """Do all due operations, as a worker does."""
        while claimed := self.claim():
            for each in claimed:
                step = self.carry_out_step(each)
                if isinstance(step, Resolution):
                    for snapshot in settling.resolve(self.app, [step]):
                        if snapshot.claimed_by:
                            self.settle(Claimed(snapshot, each.volume))
                else:
                    settling.settle(self.app, [step])

    def manage_snapshot(self, source: str = DAILY, **fields: Any) -> Snapshot:
        requested = self.request(source, **fields)
        self.accept(requested)
        self.carry_out_due()
        return self.record(requested)

    def record(self, record: Record) -> Snapshot:
        """Return the record as it is in the database now."""
        with self.db.read() as conn:
            found = records.get(conn, Snapshot, record.id, deleted=True)
        assert found is not None
        return found

    def volume(self, volume_id: str = VOLUME_ID) -> Volume:
        """Return a volume or its tombstone as it is in the database now."""
        with self.db.read() as conn:
            found = records.get(conn, Volume, volume_id, deleted=True)
        assert found is not None
        return found

    def register_volume(self, name: str, **fields: Any) -> Volume:
        """Request to register a volume, and return its record; the server has not accepted it."""
        return requests.register_volume(self.app, examples.volume(name, **{"id": new_id()} | fields))

    def fail_at_once(self, requested: Record) -> None:
        """Carry out an operation whose object the backend doesn't have."""
        self.accept(requested)
        self.carry_out_due()

    def message_names(self, kind: Kind = Kind.NOTIFICATION) -> list[str]:
        """Return the names of the messages in the outbox, in the order of writing."""
        return [message.name for message in self.messages() if message.kind is kind]

    def messages(self) -> list[Message]:
        with self.db.read() as conn:
            taken = outbox.take(conn, self.clock.now + timedelta(days=1), 1000)
        return sorted((message for message, _ in taken), key=lambda each: each.body.get("generation", 0))

    def user_messages(self) -> list[UserMessage]:
        with self.db.read() as conn:
            return usermessages.list_page(conn, ListQuery(PROJECT))

    def change_rules(self, **rules: Any) -> None:
        self.app = replace(self.app, rules=replace(self.app.rules, **rules))


def fields(snapshot: Snapshot, *names: str) -> list[Any]:
    return [getattr(snapshot, name) for name in names]
