"""A plan against a Cinder of the package index with all of its own services, and LVM as its backend."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from snapmanage.testing import needs
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running
from snapmanage.testing.waiting import until
from tests.functional.adopting.shell import Shell
from tests.integration.upstream.commands import commands, count, kill_when, records
from tests.page_blocks import adapted, block
from tests.services.whole_cinder import HOST, WholeCinder

VOLUMES = ("disk-1", "disk-2")
SNAPSHOTS = 6
EXTENTS_OF_A_GIB = 256


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    needs.require("lvs", "losetup", "jq", root=True)
    folder = tmp_path / "group"
    folder.mkdir()
    with metadata_group(folder) as made:
        made.add_volumes(*VOLUMES, extents=EXTENTS_OF_A_GIB)
        for volume in VOLUMES:
            names = [f"{volume}-daily-{number:02}" for number in range(SNAPSHOTS)]
            made.add_thick_snapshots(volume, *names, extents=EXTENTS_OF_A_GIB)
        yield made


@pytest.fixture
def cinder(mariadb: MariaDB, group: MetadataGroup) -> Iterator[WholeCinder]:
    with running(partial(WholeCinder, mariadb.database(), group)) as service:
        yield service


@pytest.fixture
def shell(cinder: WholeCinder, tmp_path: Path) -> Shell:
    return commands(cinder, tmp_path / "client")


def objects(group: MetadataGroup) -> dict[str, str]:
    """Return the names of the objects by the identities that LVM gave them."""
    lines = group.lvm("lvs", "--noheadings", "-o", "lv_uuid,lv_name", group.name).splitlines()
    return dict(line.split() for line in lines)


def test_plan_is_carried_out_once_and_undone_in_spite_of_kills(
    shell: Shell, cinder: WholeCinder, group: MetadataGroup
) -> None:
    total, before = len(VOLUMES) * SNAPSHOTS, objects(group)
    plan = str(shell.folder / "plan.jsonl")
    assert len(shell.rows("list", "--host", HOST)) == total
    assert shell.run("plan", "--host", HOST, "--out", plan).returncode == 0
    assert Counter(row["Do"] for row in shell.rows("show", plan)) == {"register-volume": len(VOLUMES), "manage": total}
    slowly = ("--yes", "--parallel", "2")

    kill_when(shell, lambda: count(plan, "v", "accepted") > 0, "apply", plan, *slowly)
    kill_when(shell, lambda: count(plan, "s", "accepted") > total // 3, "apply", plan, *slowly)
    assert 0 < len(records(cinder, "snapshots")) < total
    until(lambda: {status for _, status in records(cinder, "snapshots")} == {"available"}, "Cinder to be idle", 60)
    assert shell.run("diff", plan).returncode == 0
    ended = shell.run("apply", plan, "--yes")

    assert ended.returncode == 0, ended.stderr
    managed = records(cinder, "snapshots")
    assert [status for _, status in managed] == ["available"] * total
    assert [status for _, status in records(cinder, "volumes")] == ["available"] * len(VOLUMES)
    assert [(row["Outcome"], row["Count"]) for row in shell.rows("report", plan)] == [("done", total)]
    assert set(objects(group).values()) >= {f"_snapshot-{each}" for each, _ in managed}
    assert objects(group).keys() == before.keys()

    kill_when(shell, lambda: count(plan, "s", "undone") > total // 3, "undo", plan, *slowly)
    ended = shell.run("undo", plan, "--yes")

    assert ended.returncode == 0, ended.stderr
    assert cinder.snapshots() == []
    assert {status for _, status in records(cinder, "volumes")} == {"deleted"}
    assert len(records(cinder, "snapshots")) == total
    assert set(objects(group).values()).isdisjoint(before.values())  # Cinder restores no name
    rename_as_the_page_says(shell.folder, group)
    assert objects(group) == before


def rename_as_the_page_says(folder: Path, group: MetadataGroup) -> None:
    """Restore the names with the command of the how-to."""
    reports = sorted(folder.glob("plan.jsonl.undo-*"))
    first = reports[0]
    lines = first.read_text().splitlines()
    assert len({json.loads(line)["original_name"] for line in lines}) == len(objects(group))
    text = adapted(block("adopt.md", "Undo", "lvrename"), {"VG": group.name, "plan.jsonl.undo-TIME.jsonl": first})
    command = text.strip().removeprefix("# ")
    environment = {"PATH": needs.SYSTEM_PATH, "LVM_SYSTEM_DIR": str(group.system_dir)}
    subprocess.run(["sh", "-c", command], env=environment, check=True)
