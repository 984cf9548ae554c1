"""The progress of a batch: which entries a driver has begun."""

from snapmanage.drivers.progress import Progress, current_progress, reported, working_on


def test_entry_on_which_a_driver_works_in_two_steps_counts_once() -> None:
    progress = Progress()

    with reported(progress):
        for entry in ("first", "second", "first", "second"):
            working_on(entry)

    assert (progress.begun, progress.current) == (2, "second")


def test_progress_of_a_part_counts_for_the_whole_batch() -> None:
    whole = Progress()

    for entry in ("first", "second"):
        with reported(Progress(whole)):
            working_on(entry)

    assert (whole.begun, whole.current) == (2, "second")
    assert current_progress() is None


def test_first_entry_of_a_batch_is_never_withdrawn() -> None:
    progress = Progress()
    progress.rest.extend(["first", "second", "third"])

    early = progress.withdraw()
    progress.note(progress.rest.popleft())

    assert (early, progress.withdraw(), list(progress.rest)) == (0, 2, [])
