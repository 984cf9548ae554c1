"""Every driver in a running service: the reason codes that clients see."""

from pathlib import Path
from typing import Any

from snapmanage.testing.lab import Lab
from tests.contract.worlds import world_of
from tests.functional.world import World


def reason_code(world: World, volume_id: str, ref: Any) -> str:
    """Request to manage a snapshot, wait until that fails, and return the reason code."""
    snapshot_id = world.request_manage(volume_id, ref)
    assert world.await_settled(snapshot_id)["status"] == "error"
    code: str = world.client.operation(snapshot_id)["reason_code"]
    return code


def test_client_manages_and_unmanages_and_is_refused_with_stable_codes(lab: Lab, tmp_path: Path) -> None:
    other = lab.add_volume("other-volume")
    lab.add_snapshot(lab.name_of("daily"))
    with world_of(tmp_path, lab.driver) as world:
        volume_id, other_id = world.register_volume(lab.volume), world.register_volume(other)

        reason_codes = {
            "source_not_found": reason_code(world, volume_id, lab.name_of("absent")),
            "not_a_snapshot": reason_code(world, volume_id, lab.volume),
            "invalid_reference": reason_code(world, volume_id, {"source-nonsense": lab.name_of("daily")}),
            "wrong_volume": reason_code(world, other_id, lab.name_of("daily")),
        }
        snapshot_id = world.manage_snapshot(volume_id, lab.name_of("daily"))
        [managed_name] = lab.names()
        again = world.client.manage(volume_id, managed_name)
        [entry] = world.client.manageable()
        volumes = {each["reference"]["source-name"]: each for each in world.client.manageable_volumes()}
        world.client.unmanage(snapshot_id)
        world.await_unmanaged(snapshot_id)

    assert reason_codes == {code: code for code in reason_codes}
    assert again.status_code == 409
    assert (entry["reference"], entry["cinder_id"]) == ({"source-name": managed_name}, snapshot_id)
    assert {name: volumes[name]["cinder_id"] for name in (lab.volume, other)} == {
        lab.volume: volume_id,
        other: other_id,
    }
    assert lab.names() == {lab.name_of("daily")}
