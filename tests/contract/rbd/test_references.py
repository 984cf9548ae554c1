"""References of the RBD driver: names, ids, and their forms."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import DAILY, find, find_by_id
from tests.contract.worlds import world_of


def test_snapshot_name_alone_is_looked_up_on_the_volume(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-2")
    lab.add_snapshot("image-2@daily")

    assert find(driver, "daily", "image-2").name == "image-2@daily"
    with pytest.raises(errors.SourceNotFound, match="IMAGE@SNAPSHOT"):
        find(driver, "daily")
    with pytest.raises(errors.SourceNotFound):
        find(driver, "weekly", "image-2")


def test_snapshots_of_one_name_are_managed_on_several_volumes_but_only_once_on_each(
    lab: RbdLab, tmp_path: Path
) -> None:
    lab.add_volume("image-2")
    lab.add_snapshot("image-2@daily")
    with world_of(tmp_path, lab.driver) as world:
        volumes = [world.register_volume(name) for name in ("image-1", "image-2")]

        managed = [world.manage_snapshot(volume, "daily") for volume in volumes]

        assert [world.client.manage(volume, "daily").status_code for volume in volumes] == [409, 409]
    assert lab.names() == {f"image-{number}@snapshot-{each}" for number, each in enumerate(managed, 1)}


def test_whole_name_finds_a_snapshot_of_another_volume(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-2")

    assert find(driver, DAILY, "image-2").parent == "image-1"


def test_name_with_two_readings_is_looked_up_on_the_volume_first(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-1@daily")
    with lab.image("image-1@daily") as image:
        image.create_snap("1")
    lab.add_snapshot("image-1@daily@1")

    assert find(driver, "image-1@daily@1", "image-1").parent == "image-1"
    assert find(driver, "image-1@daily@1", "image-1@daily").parent == "image-1@daily"


def test_ids_from_a_listing_are_references(driver: RbdDriver) -> None:
    [listed] = driver.list_snapshots()

    assert find_by_id(driver, listed.extra["source-id"]) == listed


def test_snapshot_id_alone_is_looked_up_on_the_volume(driver: RbdDriver) -> None:
    snapshot = find(driver)

    assert find_by_id(driver, snapshot.identity.partition("@")[2], "image-1") == snapshot
    with pytest.raises(errors.InvalidReference, match="IMAGE_ID@SNAPSHOT_ID"):
        find_by_id(driver, snapshot.identity.partition("@")[2])


@pytest.mark.parametrize("text", ["daily", "1@", "@1", "a/b@1", "1@-1", "1@1@1", "1" * 30])
def test_invalid_id_is_refused(driver: RbdDriver, text: str) -> None:
    with pytest.raises(errors.InvalidReference, match="SNAPSHOT_ID"):
        find_by_id(driver, text, "image-1")


def test_unknown_id_is_not_found(driver: RbdDriver) -> None:
    image_id = find(driver).identity.partition("@")[0]
    for text in (f"{image_id}@999", "abc@1"):
        with pytest.raises(errors.SourceNotFound):
            find_by_id(driver, text)


def test_template_that_makes_an_impossible_name_is_a_configuration_error(driver: RbdDriver) -> None:
    for name in ("", "a/b", "a@b", "a\0b"):
        with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
            driver.managed_name(find(driver), name)


def test_name_longer_than_the_cluster_accepts_is_refused(driver: RbdDriver) -> None:
    with pytest.raises(errors.InvalidReference):
        driver.find_volume(Reference.named("x" * 3000))
