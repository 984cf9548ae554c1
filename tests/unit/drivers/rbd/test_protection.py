"""The keys in the metadata of an image that record which snapshots were unprotected."""

from snapmanage.drivers.rbd import protection


def test_snapshots_are_read_from_keys_and_foreign_keys_are_ignored() -> None:
    keys = {
        "snapmanage.before.4",
        "snapmanage.before.15",
        "snapmanage.before.",
        "snapmanage.before.x",
        "snapmanage.before.\u0663",
    }

    assert protection.noted(keys) == {4, 15}
