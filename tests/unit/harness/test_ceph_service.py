"""The tests' Ceph finds the object classes of its OSD."""

from pathlib import Path

import pytest

from snapmanage.testing.services.storage.ceph import class_folder


@pytest.mark.parametrize("libraries", ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64"])
def test_object_classes_are_found_on_every_architecture(tmp_path: Path, libraries: str) -> None:
    folder = tmp_path / libraries / "rados-classes"
    folder.mkdir(parents=True)
    (folder / "libcls_rbd.so").touch()

    assert class_folder(tmp_path) == folder


def test_no_folder_is_found_on_a_machine_without_object_classes(tmp_path: Path) -> None:
    assert class_folder(tmp_path) is None
