"""Volumes are registered by their size and identity."""

from snapmanage.core.records import Status, Volume
from snapmanage.manage import requests
from snapmanage.store import records
from tests import examples
from tests.examples import new_id
from tests.functional.manage.operations.bench import Bench


def test_registered_volume_is_known_by_its_size_and_identity(bench: Bench) -> None:
    found = bench.driver.add_volume("other", 5 * 1024**3)
    requested = requests.register_volume(bench.app, examples.volume("other", id=new_id()))
    bench.accept(requested)

    bench.carry_out_due()

    with bench.db.read() as conn:
        volume = records.get(conn, Volume, requested.id)
    assert volume is not None
    assert (volume.status, volume.size_gb, volume.backend_id) == (Status.AVAILABLE, 5, found.identity)
    assert bench.message_names() == []


def test_missing_volume_ends_in_error_with_a_user_message(bench: Bench) -> None:
    requested = requests.register_volume(bench.app, examples.volume("gone", id=new_id()))
    bench.accept(requested)

    bench.carry_out_due()

    assert [(message.resource_type, message.resource_id) for message in bench.user_messages()] == [
        ("VOLUME", requested.id)
    ]
