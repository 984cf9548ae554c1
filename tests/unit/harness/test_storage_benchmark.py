"""The storage benchmark, `make bench BENCH=storage`: its counts, its raw loop and its table."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import _select
from benchmarks.storage import counting, measure, reference, table
from benchmarks.storage.backends import MAKERS, Backend
from benchmarks.storage.raw import RawLoop
from snapmanage.testing import needs

LIMITS = ["/usr/bin/prlimit", "--core=0", "--as=4294967296", "--"]
PHASE = {
    "ms": 2.0,
    "driver_ms": 0.5,
    "batch": {"find_snapshots": 200.0, "manage_snapshots": 100.0},
    "processes": {"lvrename": 1.0},
    "reports": {"lvs": 0.01},
    "ratio": 1.234,
    "driver_ratio": 0.3,
}
LINE: dict[str, Any] = {
    "benchmark": "storage.lvm",
    "at": "2026-01-01T00:00:00+00:00",
    "load": 1.5,
    "machine": {"cores": 2, "cpu": "CPU", "memory_gb": 24, "kernel": "6.1", "python": "3.11"},
    "figures": {
        "backend": "lvm",
        "snapshots": 1000,
        "settings": "STORAGE_SNAPSHOTS=1000",
        "rename": {"manage": PHASE, "unmanage": PHASE},
        "keep": {"manage": PHASE, "unmanage": PHASE},
        "raw": {"ms": 1.62, "renames": 100},
        "cinder": {"operations": 9, "ms": 8.1, "processes": {"lvs": 2.0}, "reports": {"lvs": 2.0}},
    },
}


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([*LIMITS, "/usr/sbin/lvs", "--units", "b"], "lvs"),
        ([*LIMITS, "/usr/bin/qemu-img", "info", "-U"], "qemu-img info"),
        (["env", "LC_ALL=C", "lvrename", "group", "old", "new"], "lvrename"),
        (["sudo", "-n", "/usr/bin/env", "LC_ALL=C", "zfs", "get"], "zfs get"),
        ([], ""),
    ],
)
def test_process_is_counted_by_the_program_that_it_becomes(argv: list[str], name: str) -> None:
    assert counting.program_of(argv) == name


def test_program_counts_its_processes_and_reports_in_the_file(tmp_path: Path) -> None:
    lvs = tmp_path / "lvs"
    lvs.write_text("#!/bin/sh\n")
    lvs.chmod(0o755)
    program = f"import subprocess; [subprocess.run(['env', 'A=b', {str(lvs)!r}]) for _ in range(3)]"
    environment = os.environ | counting.environment(tmp_path, tmp_path / "counts")

    subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    assert counting.read(tmp_path / "counts") == {"process lvs": 3, "report lvs": 3}


def test_folder_is_a_report_only_if_it_was_already_open() -> None:
    assert counting.counted("os.scandir", [7]) == ["report folder"]
    assert counting.counted("os.scandir", ["/usr/lib/python3"]) == []


def test_counts_are_shown_for_one_operation_and_calls_with_their_mean_entries() -> None:
    counts = {"process lvs": 2, "report lvs": 2, "call find_snapshots": 4, "entry find_snapshots": 200, "busy": 0.1}

    assert counting.per_operation(counts, 200) == {
        "driver_ms": 0.5,
        "batch": {"find_snapshots": 50.0},
        "processes": {"lvs": 0.01},
        "reports": {"lvs": 0.01},
    }


def test_raw_loop_restores_every_name() -> None:
    names = {"a", "b", "c"}

    def rename(old: str, new: str) -> None:
        names.remove(old)
        names.add(new)

    loop = RawLoop(Backend("", {"volume": sorted(names)}, lambda: nullcontext(rename), "raw-{}".format), seconds=20)
    loop.run()

    assert names == {"a", "b", "c"}
    assert loop.figures["renames"] == 6


def test_sample_of_snapshots_is_spread_over_the_volumes() -> None:
    assert list(reference.spread({"x": ["x1", "x2"], "y": ["y1"]})) == [("x", "x1"), ("y", "y1"), ("x", "x2")]


def test_table_has_a_row_for_each_kind_of_work_and_for_the_driver_of_cinder() -> None:
    shown = table.render([LINE]).splitlines()

    assert len([line for line in shown if line.startswith("| lvm | 1000 |")]) == 5
    assert (
        "| lvm | 1000 | manage, with rename | 2 | 1.6 | 1.2 | 0.5 | 0.3 | 200 + 100 | 1 lvrename | 0.01 lvs |" in shown
    )
    assert "| lvm | 1000 | Cinder's own driver, 9 managed | 8.1 | 1.6 | 5 |  |  | 1 | 2 lvs | 2 lvs |" in shown
    assert 'Repeat it: make bench BENCH="storage.lvm" STORAGE_SNAPSHOTS=1000' in shown


def test_table_says_what_the_machine_lacks() -> None:
    without_cinder = {**LINE, "figures": LINE["figures"] | {"cinder": {"missing": "no module cinder"}}}
    without_lvm = {**LINE, "figures": {"backend": "lvm", "settings": "", "missing": "this machine lacks: lvs"}}

    assert "Cinder's own driver: not measured: no module cinder" in table.render([without_cinder])
    assert "| lvm |  | not measured: this machine lacks: lvs |" in table.render([without_lvm])


def test_results_of_other_benchmarks_make_no_table() -> None:
    assert table.render([LINE | {"benchmark": "consume"}]) == ""


def test_backend_that_the_machine_lacks_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "SYSTEM_PATH", "/nowhere")
    world: Any = None  # not reached

    figures = measure.run(world, "qcow2")

    assert figures["backend"] == "qcow2"
    assert "this machine lacks: qemu-img" in figures["missing"]


def test_storage_runs_only_if_it_is_named() -> None:
    assert [name for name in _select([""], 1) if name.startswith("storage")] == []
    assert [*_select(["storage"], 1)] == [*(f"storage.{name}" for name in MAKERS), "storage.lvm.large"]
