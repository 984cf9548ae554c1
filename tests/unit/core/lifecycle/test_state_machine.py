"""Every operation of a snapshot has one start and one end, in any order of steps and failures.

Hypothesis chooses the steps: deliveries that repeat, workers that race, die or write after their lease has expired,
a backend that fails, and users who unmanage and retry. The database is one variable with one rule: a change is written
only if the record still has the fence of the change's `before`.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from snapmanage import errors
from snapmanage.core import lifecycle, removals, retries
from snapmanage.core.change import Change
from snapmanage.core.events import Event
from snapmanage.core.records import Operation, Snapshot, Status
from tests import examples
from tests.examples import LEASE, NOW, REQUESTER, RETRY

PASSING = errors.BackendBusy("the volume group is locked")
FINAL = errors.SourceNotFound("there is no 'daily'")
WORKERS = st.sampled_from(["worker 1", "worker 2", "worker 3"])
SETTLED = (Status.AVAILABLE, Status.ERROR, Status.DELETED)


@dataclass
class HeldClaim:
    """A claim that a worker made; another worker may have claimed the record since."""

    record: Snapshot


class Life(RuleBasedStateMachine):
    held_claims = Bundle("held_claims")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.snapshot = lifecycle.request(examples.snapshot())
        self.requested = [Operation.MANAGE]
        self.events: list[Event] = []
        self.claims: dict[int, str] = {}

    def write(self, change: Change[Snapshot]) -> bool:
        """Write the columns that differ, as the store does, if the fence is unchanged."""
        if self.snapshot.fence != change.before.fence:
            return False
        before, after = vars(change.before), vars(change.after)
        differences: dict[str, Any] = {name: after[name] for name in after if before[name] != after[name]}
        self.snapshot = replace(self.snapshot, **differences)
        assert self.snapshot.generation - change.before.generation == bool(change.event)
        assert self.snapshot.claim_number - change.before.claim_number in (0, 1)
        self.events += [change.event] if change.event else []
        return True

    def try_claim(self, worker: str, read: Snapshot) -> HeldClaim | None:
        """Claim the snapshot in the state that the worker has read; return the claim if the worker holds it."""
        change = lifecycle.claim(read, worker, self.now, LEASE, RETRY)
        if change is None or not self.write(change):
            return None
        assert self.claims.setdefault(change.after.claim_number, worker) == worker
        return HeldClaim(change.after) if change.after.status.in_progress else None

    @rule(operation=st.sampled_from(Operation))
    def deliver(self, operation: Operation) -> None:
        """Deliver a cast from the outbox or from an upstream API, which may request to unmanage the snapshot."""
        try:
            change = lifecycle.accept(self.snapshot, operation, self.now)
        except errors.InvalidState:
            assert operation is Operation.UNMANAGE
            return
        if change is not None:
            assert self.write(change)
            self.requested += [operation] if change.after.status is not change.before.status else []

    @rule(target=held_claims, worker=WORKERS)
    def claim(self, worker: str) -> Any:
        held = self.try_claim(worker, self.snapshot)
        return multiple() if held is None else held

    @rule(target=held_claims, workers=st.permutations(["worker 1", "worker 2", "worker 3"]))
    def race(self, workers: list[str]) -> Any:
        """Let all workers read the same row before the first of them writes."""
        read = self.snapshot
        winners = [held for worker in workers if (held := self.try_claim(worker, read))]
        assert len(winners) <= 1
        return multiple(*winners)

    @rule(held=consumes(held_claims))
    def die(self, held: HeldClaim) -> None:
        """The worker writes nothing."""

    @rule(held=held_claims)
    def renew(self, held: HeldClaim) -> None:
        self.write(lifecycle.renew(held.record, self.now, LEASE))

    @rule(held=held_claims)
    def resolve(self, held: HeldClaim) -> None:
        if held.record.operation is Operation.MANAGE and held.record.binding is None:
            change = lifecycle.resolve(held.record, examples.found(), "snapshot-2", self.now + LEASE)
            if self.write(change):
                held.record = change.after

    @rule(held=held_claims)
    def succeed(self, held: HeldClaim) -> None:
        if held.record.operation is Operation.UNMANAGE:
            self.settle(held, lifecycle.succeed(held.record, None, self.now))
        elif held.record.binding is not None:
            self.settle(held, lifecycle.succeed(held.record, examples.found("snapshot-2"), self.now))

    @rule(held=held_claims, error=st.sampled_from([PASSING, FINAL]))
    def fail(self, held: HeldClaim, error: errors.SnapmanageError) -> None:
        self.settle(held, lifecycle.fail(held.record, error, self.now, RETRY))

    @rule(held=held_claims)
    def release(self, held: HeldClaim) -> None:
        self.settle(held, lifecycle.release(held.record, self.now))

    def settle(self, held: HeldClaim, change: Change[Snapshot]) -> None:
        """Write the change only under a valid claim; without one, the worker keeps `held` and may try again."""
        holds = self.snapshot.fence == held.record.fence
        assert self.write(change) is holds
        assert self.snapshot.fence != held.record.fence

    @rule()
    def unmanage(self) -> None:
        try:
            change = lifecycle.unmanage(self.snapshot, REQUESTER, self.now)
        except errors.InvalidState:
            assert self.snapshot.status.in_progress or self.snapshot.status is Status.DELETED
        else:
            self.requested.append(Operation.UNMANAGE)
            if change.after.binding is not None:
                assert self.write(change)
                return
            for each in removals.unmanage_unbound(change, self.now):
                assert self.write(each)
                self.claims[each.after.claim_number] = "the API"

    @rule()
    def retry(self) -> None:
        if self.snapshot.status is Status.ERROR and self.snapshot.operation is Operation.UNMANAGE:
            self.unmanage()
            return
        try:
            change = retries.retry_manage(self.snapshot, REQUESTER, self.now)
        except errors.InvalidState:
            assert self.snapshot.status is not Status.ERROR
        else:
            assert self.write(change)
            self.requested.append(Operation.MANAGE)

    @rule(seconds=st.sampled_from([1, 10, 61]))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @invariant()
    def generations_are_consecutive(self) -> None:
        generations = [event.payload["generation"] for event in self.events]
        assert generations == list(range(1, self.snapshot.generation + 1))

    @invariant()
    def claim_number_counts_the_claims(self) -> None:
        assert sorted(self.claims) == list(range(1, self.snapshot.claim_number + 1))

    @invariant()
    def settled_snapshot_is_neither_due_nor_claimed(self) -> None:
        assert self.snapshot.status.in_progress or self.snapshot.due_at is None
        assert self.snapshot.status.in_progress or self.snapshot.claimed_by is None

    @invariant()
    def available_snapshot_owns_its_object_and_an_unmanaged_or_failed_one_does_not(self) -> None:
        if self.snapshot.status is Status.AVAILABLE:
            assert self.snapshot.reference_key
            assert self.snapshot.identity_key
        if self.snapshot.status is Status.DELETED or (
            self.snapshot.status is Status.ERROR and self.snapshot.operation is Operation.MANAGE
        ):
            assert self.snapshot.reference_key is self.snapshot.identity_key is None

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert 0 <= self.snapshot.attempt <= RETRY.max_attempts

    def teardown(self) -> None:
        """Deliver the cast, let leases expire, and let a last worker finish each operation."""
        while self.snapshot.status.in_progress:
            self.deliver(self.snapshot.operation)
            self.now += max(LEASE, RETRY.longest_delay)
            held = self.try_claim("the last worker", self.snapshot)
            if held is not None:
                self.resolve(held)
                self.succeed(held)
        assert self.snapshot.status in SETTLED
        steps = [event.event_type.removeprefix("snapshot.").split(".") for event in self.events]
        assert [(operation, step == "start") for operation, step in steps] == [
            (operation.value, start) for operation in self.requested for start in (True, False)
        ]
        self.generations_are_consecutive()


def test_every_operation_has_one_start_and_one_end() -> None:
    run_state_machine_as_test(Life, settings=settings(max_examples=150, stateful_step_count=50))
