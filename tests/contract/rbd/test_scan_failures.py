"""Failures during a listing: a failed image becomes an entry; a failed cluster fails the whole listing."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.reference import Reference
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import ImageEntry
from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing.services.storage.ceph import mon_command
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import DAILY, list_by_name


@pytest.fixture
def fail_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[ImageEntry]]:
    """Return a function that makes reads of images fail after `after` reads, and returns the list of all reads."""
    read = Pool.snapshots

    def fail(error: Exception, fails: Callable[[ImageEntry], bool], after: int = 0) -> list[ImageEntry]:
        reads: list[ImageEntry] = []

        def read_or_fail(pool: Pool, image: ImageEntry) -> list[BackendSnapshot]:
            reads.append(image)
            if fails(image) and len(reads) > after:
                raise error
            return read(pool, image)

        monkeypatch.setattr(Pool, "snapshots", read_or_fail)
        return reads

    return fail


TIME_OUT = errors.BackendUnavailable("the image doesn't answer")


def test_image_that_times_out_is_an_entry_if_others_answer(lab: RbdLab, fail_reads: Any) -> None:
    lab.add_volume("silent")
    fail_reads(TIME_OUT, lambda image: image.name == "silent")

    found = list_by_name(lab.driver)

    assert found[DAILY].unsafe is None
    assert "doesn't answer" in found["silent"].unsafe_reason


def test_listing_fails_if_no_image_answers(lab: RbdLab, fail_reads: Any) -> None:
    lab.add_volume("silent")
    fail_reads(TIME_OUT, lambda image: True)

    with pytest.raises(errors.BackendUnavailable):
        lab.driver.list_snapshots()


def test_listing_fails_if_the_cluster_stops_answering_in_between(lab: RbdLab, fail_reads: Any) -> None:
    lab.add_volume("silent")
    fail_reads(TIME_OUT, lambda image: True, after=1)

    with pytest.raises(errors.BackendUnavailable):
        lab.driver_as("admin", rbd_list_workers=1).list_snapshots()


def test_listing_stops_when_more_images_time_out_than_are_read_at_once(lab: RbdLab, fail_reads: Any) -> None:
    for number in range(9):
        lab.add_volume(f"silent-{number}")
    reads = fail_reads(TIME_OUT, lambda image: image.name.startswith("silent"))

    with pytest.raises(errors.BackendUnavailable):
        lab.driver_as("admin", rbd_list_workers=2).list_snapshots()

    assert len([image for image in reads if image.name.startswith("silent")]) <= 4


def test_image_whose_features_time_out_is_not_opened(lab: RbdLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*arguments: object) -> int:
        raise ceph_bindings.load().rados.TimedOut("no answer in time", errno=errno.ETIMEDOUT)

    monkeypatch.setattr(raw, "read_features", time_out)

    with pytest.raises(errors.BackendUnavailable, match="no answer in time"):
        lab.driver.find_volume(Reference.named(lab.volume))


@pytest.fixture
def make_restricted_driver(lab: RbdLab, tmp_path: Path) -> Callable[..., RbdDriver]:
    """Return a function that makes a driver whose user may read only the headers of the named images."""

    def make(*images: str) -> RbdDriver:
        prefixes = ["rbd_directory", "rbd_id.", "rbd_info", "rbd_trash"]
        for name in images:
            with lab.image(name) as image:
                prefixes.append(f"rbd_header.{image.id()}")
        caps = ", ".join(f"allow rwx pool={lab.pool} object_prefix {prefix}" for prefix in prefixes)
        entity = f"client.{lab.pool}"
        [made] = mon_command(lab.cluster, "auth get-or-create", entity=entity, caps=["mon", "profile rbd", "osd", caps])
        keyring, conf = tmp_path / "keyring", tmp_path / "ceph.conf"
        keyring.write_text(f"[{entity}]\nkey = {made['key']}\n")
        conf.write_text(lab.ceph.conf.read_text().replace(f"{lab.ceph.folder}/keyring", str(keyring)))
        return lab.driver_as(lab.pool, rbd_ceph_conf=str(conf))

    return make


def test_image_without_read_permission_is_an_entry_if_others_are_readable(
    lab: RbdLab, make_restricted_driver: Callable[..., RbdDriver]
) -> None:
    secrets = [lab.add_volume(f"secret-{number}") for number in range(10)]

    found = list_by_name(make_restricted_driver(lab.volume))

    assert found[DAILY].unsafe is None
    assert ["profile rbd" in found[name].unsafe_reason for name in secrets] == [True] * 10


def test_listing_fails_if_the_user_may_read_no_image(make_restricted_driver: Callable[..., RbdDriver]) -> None:
    with pytest.raises(errors.BackendPermission, match="profile rbd"):
        make_restricted_driver().list_snapshots()
