"""A budget of bytes: beyond it, the client that holds most loses connections."""

from dataclasses import dataclass

import pytest

from snapmanage.api.serving.acceptor import MOST_CONNECTIONS, MOST_HELD, MOST_UNSENT
from snapmanage.api.serving.budgets import SPARED_BYTES, Budget

MOST = 1_000_000
ATTACKER, OTHER, HONEST = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@dataclass(eq=False)
class Connection:
    """A connection of a client, which waits since `since`; a thread uses it if `is_running`."""

    client: str
    size: int
    since: float = 0
    is_running: bool = False

    def release(self) -> bool:
        if not self.is_running:
            self.size = 0
        return not self.is_running


BUDGET = Budget(MOST, lambda each: each.size, Connection.release)


def released(*connections: Connection, spared: Connection | None = None) -> list[Connection]:
    """Enforce the budget; return the connections that it released."""
    BUDGET.enforce(list(connections), spared)
    return [each for each in connections if not each.size]


def test_budget_at_its_bound_releases_nothing() -> None:
    assert released(Connection(ATTACKER, MOST // 2), Connection(ATTACKER, MOST // 2)) == []


def test_one_byte_more_releases_the_connection_that_has_waited_longest() -> None:
    younger, older = Connection(ATTACKER, MOST // 2, since=2), Connection(ATTACKER, MOST // 2 + 1, since=1)

    assert released(younger, older) == [older]


def test_no_more_connections_are_released_than_the_bound_needs() -> None:
    flood = [Connection(ATTACKER, MOST // 10, since=since) for since in range(13)]

    assert released(*flood) == flood[:3]


def test_client_that_holds_less_than_another_keeps_its_large_old_connection() -> None:
    honest = Connection(HONEST, 100_000, since=0)
    flood = [Connection(ATTACKER, 20_000, since=1) for _ in range(50)]

    assert honest not in released(honest, *flood)


def test_client_that_holds_most_pays_for_the_excess_of_all() -> None:
    most, less = [[Connection(client, MOST // 10) for _ in range(6)] for client in (ATTACKER, OTHER)]
    most.append(Connection(ATTACKER, MOST // 10))

    assert released(*less, *most) == most[:3]


def test_small_requests_are_spared_though_their_client_holds_most() -> None:
    small = [Connection(ATTACKER, SPARED_BYTES) for _ in range(50)]
    large = [Connection(OTHER, SPARED_BYTES + 1) for _ in range(20)]

    assert released(*small, *large) == large[:9]


def test_spared_bytes_of_all_connections_are_less_than_half_a_budget() -> None:
    assert min(MOST_UNSENT, MOST_HELD) / 2 > MOST_CONNECTIONS * SPARED_BYTES


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "writing"])
def test_connection_that_a_thread_uses_is_not_released(is_running: bool) -> None:
    used, waiting = Connection(ATTACKER, MOST, since=0, is_running=is_running), Connection(ATTACKER, 100_000, since=1)

    assert released(used, waiting, spared=None if is_running else used) == [waiting]
