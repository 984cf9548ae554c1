"""The probes of a process, and of several processes that one supervises."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from snapmanage.cmd.process import bounded_check
from snapmanage.cmd.process.bounded_check import BoundedCheck
from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.process.worker_probes import WorkerProbes
from snapmanage.core.readiness import Check, failed
from snapmanage.pulse import Pulse

HUNG_SECONDS = 300


def serving(*checks: Check, pulse: Pulse | None = None) -> Probes:
    probes = Probes(HUNG_SECONDS)
    probes.serve(lambda: [pulse] if pulse else [], lambda: checks)
    return probes


def hung() -> Pulse:
    times = iter([0.0, *(HUNG_SECONDS + 1.0 for _ in range(10))])
    pulse = Pulse("relay", clock=lambda: next(times))
    pulse.begin_turn()
    return pulse


def status(probes: Probes, path: str) -> int:
    return probes.pages()[path]().status


def test_process_is_ready_between_its_start_and_its_stop_and_live_always() -> None:
    probes = Probes(HUNG_SECONDS)
    assert (status(probes, "/livez"), status(probes, "/readyz")) == (200, 503)

    probes.serve(list, lambda: [Check("database")])
    assert (status(probes, "/livez"), status(probes, "/readyz")) == (200, 200)

    probes.stop()
    assert (status(probes, "/livez"), status(probes, "/readyz")) == (200, 503)


def test_process_without_its_database_is_live_but_not_ready() -> None:
    probes = serving(Check("database", "away"))

    assert (status(probes, "/livez"), status(probes, "/readyz")) == (200, 503)
    assert b"[-]database failed: away\n" in probes.pages()["/readyz"]().body


def test_process_with_a_hung_thread_is_neither_live_nor_ready() -> None:
    probes = serving(Check("database"), pulse=hung())

    assert (status(probes, "/livez"), status(probes, "/readyz")) == (503, 503)
    assert not probes.alive()


def test_check_that_hangs_is_awaited_briefly_and_not_begun_again() -> None:
    release, begun = threading.Event(), []

    def test() -> None:
        begun.append(1)
        release.wait(20)

    slow = BoundedCheck("database", test, seconds=0.01)
    try:
        for _ in range(3):
            assert bounded_check.all_of([slow]) == [Check("database", "no answer within 0.01 s")]
        assert len(begun) == 1
    finally:
        release.set()


def test_check_that_raises_has_the_error_as_its_problem() -> None:
    def refuse() -> None:
        raise OSError("the disk is full")

    assert bounded_check.all_of([BoundedCheck("a", refuse), BoundedCheck("b", lambda: None)]) == [
        Check("a", "the disk is full"),
        Check("b"),
    ]


@pytest.fixture
def workers() -> Iterator[WorkerProbes]:
    made = WorkerProbes(1)
    yield made
    made.close()


def test_supervisor_answers_with_the_checks_of_its_worker(workers: WorkerProbes) -> None:
    workers.listen(serving(Check("broker", "away")))

    assert failed(workers.ready()) == [Check("broker", f"worker process {os.getpid()}: away")]
    assert workers.live() == [Check("threads")]


def test_worker_answers_in_a_folder_whose_path_is_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    with closing(WorkerProbes(1)) as workers:
        workers.listen(serving(Check("broker")))

        assert failed(workers.ready()) == []

    assert not list(folder.iterdir())


def test_supervisor_is_not_ready_before_each_worker_answers(workers: WorkerProbes) -> None:
    assert failed(workers.ready()) == [Check("workers", "0 of 1 worker processes answer")]
    assert failed(workers.live()) == []

    workers.listen(serving(Check("broker")))

    assert failed(workers.ready()) == []


def test_supervisor_is_not_live_while_a_thread_of_a_worker_hangs(workers: WorkerProbes) -> None:
    workers.listen(serving(pulse=hung()))

    assert [check.name for check in failed(workers.live())] == ["threads"]
