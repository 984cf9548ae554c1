"""Whether a server is up, so that requests can be sent to it."""

from datetime import timedelta

import pytest

from snapmanage import errors
from snapmanage.core.services import Service, require_up
from tests.examples import NOW, SERVER

DOWN_AFTER = timedelta(seconds=60)
UP = Service(SERVER, "fake", NOW - timedelta(seconds=59))


def test_enabled_server_with_a_recent_heartbeat_is_up() -> None:
    assert require_up(UP, SERVER, NOW, DOWN_AFTER) == UP


def test_error_for_a_server_without_a_heartbeat_names_it() -> None:
    with pytest.raises(errors.ServiceNotFound, match=SERVER):
        require_up(None, SERVER, NOW, DOWN_AFTER)


@pytest.mark.parametrize(
    "down",
    [Service(SERVER, "fake", NOW - DOWN_AFTER), Service(SERVER, "fake", NOW, disabled_reason="new disks")],
    ids=["overdue", "disabled"],
)
def test_overdue_or_disabled_server_is_down(down: Service) -> None:
    with pytest.raises(errors.ServiceDown):
        require_up(down, SERVER, NOW, DOWN_AFTER)
