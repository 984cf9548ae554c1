"""Batches of the RBD driver: the entries that concern one image share the opened image, and its failure.

Every function returns a result or an error for each entry, in the order given.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.batch import Asked, NotTried, try_until_unavailable
from snapmanage.drivers.progress import current_progress, reported, working_on
from snapmanage.drivers.rbd import protection, raw
from snapmanage.drivers.rbd.cluster import is_broken
from snapmanage.drivers.rbd.names import SnapshotIds, check_name
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.renamer import ImageRenamer

E = TypeVar("E", bound=Hashable)
R = TypeVar("R")
Failure = errors.SnapmanageError


class Unanswered:
    """The images of a batch, one after the other, that the cluster didn't answer for in time.

    If more than `most` follow each other, the cluster is unavailable, and the rest of the batch isn't tried.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures: list[errors.BackendUnavailable] = []

    def refuse(self) -> None:
        """Raise `NotTried` if the cluster is unavailable."""
        if len(failures := self._failures) > self._most:
            raise NotTried(str(failures[-1]))

    def note(self, last: object) -> None:
        """Note the last result of an image, or its error."""
        self._failures = [*self._failures, last] if isinstance(last, errors.BackendUnavailable) else []


def for_each_image(
    workers: int,
    entries: Sequence[E],
    image_of: Callable[[E], str],
    act: Callable[[str, Sequence[E]], Sequence[R | Failure]],
) -> list[R | Failure]:
    """Call `act` with each image and its entries, for several images at once.

    An error that `act` raises is that of each entry of the image.
    """
    results: dict[int, R | Failure] = {}
    groups = _grouped(entries, image_of, results)
    progress, unanswered = current_progress(), Unanswered(workers)

    def act_on(image: str) -> Sequence[R | Failure]:
        with reported(progress):
            return _act(unanswered, partial(act, image), [entries[number] for number in groups[image]])

    with ThreadPoolExecutor(workers, "rbd-batch") as threads:
        for numbers, found in zip(groups.values(), threads.map(act_on, groups), strict=True):
            results |= zip(numbers, found, strict=True)
    return [results[number] for number in range(len(entries))]


def image_of_asked(asked: Asked) -> str:
    """Return the image in which a look-up probably ends: its id, or its name; raise `InvalidReference`."""
    if "source-id" in asked.reference.value:
        return SnapshotIds.parse(asked.reference.name("source-id")).image or asked.volume or ""
    name = check_name(asked.reference.name())
    return asked.volume or name.partition("@")[0]


def image_of_binding(binding: Binding) -> str:
    """Return the id of the binding's image; raise `InvalidReference` for another identity than that of a snapshot."""
    return SnapshotIds.parse(binding.identity).image or ""


def image_of_volume(reference: Reference) -> str:
    return check_name(reference.name())


def find_volumes(pool: Pool, references: Sequence[Reference]) -> list[BackendVolume | Failure]:
    """Find the volume of references to one image."""
    return _each(pool, references, lambda reference: pool.find_volume(check_name(reference.name())))


def find(pool: Pool, asked: Sequence[Asked]) -> list[BackendSnapshot | Failure]:
    """Find snapshots of one image."""
    return _each(pool, asked, partial(_find, pool))


def manage(pool: Pool, bindings: Sequence[Binding], protect: bool) -> list[BackendSnapshot | Failure]:
    """Rename snapshots of one image, and protect them if `protect` is true."""
    image_id = image_of_binding(bindings[0])
    with ImageRenamer(pool, image_id, protection.refuse_unprotectable if protect else None) as names:
        results: Sequence[BackendSnapshot | Failure] = renaming.manage_many(names, bindings)
    if protect:
        results = _then(partial(_protect, pool, image_id, bindings), results)
    return _reconnecting(pool, results)


def unmanage(pool: Pool, bindings: Sequence[Binding]) -> list[Failure | None]:
    """Rename snapshots of one image back, and unprotect those that `manage` protected."""
    image_id = image_of_binding(bindings[0])
    try:
        with ImageRenamer(pool, image_id) as names:
            renamed = renaming.unmanage_many(names, bindings)
        failures = [each if isinstance(each, errors.SnapmanageError) else None for each in renamed]
        return _reconnecting(pool, _then(partial(_restore, pool, image_id, bindings), failures))
    except errors.SourceNotFound:
        # The image is gone, and its snapshots with it, unless the whole pool or namespace is missing.
        pool.verify()
        return [None] * len(bindings)


def _grouped(
    entries: Sequence[E], image_of: Callable[[E], str], refused: dict[int, R | Failure]
) -> Mapping[str, list[int]]:
    """Return the numbers of the entries of each image; add those without an image to `refused`."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        try:
            groups[image_of(entry)].append(number)
        except errors.SnapmanageError as refusal:
            refused[number] = refusal
    return groups


def _act(
    unanswered: Unanswered, act: Callable[[Sequence[E]], Sequence[R | Failure]], entries: Sequence[E]
) -> Sequence[R | Failure]:
    try:
        unanswered.refuse()
        results = act(entries)
    except errors.SnapmanageError as failure:
        results = [failure] * len(entries)
    unanswered.note(results[-1])
    return results


def _find(pool: Pool, asked: Asked) -> BackendSnapshot:
    if "source-id" in asked.reference.value:
        return pool.find_id(asked.reference.name("source-id"), asked.volume)
    return pool.find(check_name(asked.reference.name()), asked.volume)


def _protect(
    pool: Pool, image_id: str, bindings: Sequence[Binding], results: Sequence[BackendSnapshot | Failure]
) -> Sequence[BackendSnapshot | Failure]:
    managed = {each: found for each, found in zip(bindings, results, strict=True) if isinstance(found, BackendSnapshot)}
    if not managed:
        return results
    with pool.open_image(read_only=False, image_id=image_id) as image:

        def protect(binding: Binding) -> BackendSnapshot:
            with pool.cluster.translate_errors(f"image {image.name!r}"):
                ids, found = SnapshotIds.parse(binding.identity), managed[binding]
                protection.protect(image.image, ids.snapshot, image.short_name(found))
                return found

        protected = dict(zip(managed, _each(pool, list(managed), protect), strict=True))
    return [protected.get(each, result) for each, result in zip(bindings, results, strict=True)]


def _restore(
    pool: Pool, image_id: str, bindings: Sequence[Binding], failures: Sequence[Failure | None]
) -> Sequence[Failure | None]:
    rados, rbd = pool.cluster.bindings
    with pool.cluster.translate_errors(f"image {image_id!r}"):
        noted = protection.noted(raw.read_metadata_keys(pool.ioctx, rados, image_id, protection.NOTE))
    due = [
        each
        for each, failure in zip(bindings, failures, strict=True)
        if failure is None and SnapshotIds.parse(each.identity).snapshot in noted
    ]
    if not due:
        return failures
    with pool.open_image(read_only=False, image_id=image_id) as image:

        def restore(binding: Binding) -> None:
            with pool.cluster.translate_errors(f"image {image.name!r}"):
                snapshot_id = SnapshotIds.parse(binding.identity).snapshot
                protection.restore(image.image, snapshot_id, image.name_of(snapshot_id), rbd.ImageBusy)

        restored = dict(zip(due, _each(pool, due, restore), strict=True))
    return [restored.get(each, failure) for each, failure in zip(bindings, failures, strict=True)]


def _then(
    act: Callable[[Sequence[R | Failure]], Sequence[R | Failure]], results: Sequence[R | Failure]
) -> Sequence[R | Failure]:
    """Return the results after a further act; its failure replaces no error, such as that of an entry not tried."""
    try:
        return act(results)
    except errors.BackendError as failure:
        return [each if isinstance(each, errors.SnapmanageError) else failure for each in results]


def _each(pool: Pool, entries: Sequence[E], act: Callable[[E], R]) -> list[R | Failure]:
    """Act on each entry until the cluster doesn't answer in time."""

    def begin(entry: E) -> R:
        working_on(entry)
        return act(entry)

    return _reconnecting(pool, try_until_unavailable(begin, entries))


def _reconnecting(pool: Pool, results: Sequence[R | Failure]) -> list[R | Failure]:
    """Return the results; if one is the error of a broken connection, let the next call make a new connection."""
    if any(isinstance(each, errors.SnapmanageError) and is_broken(each) for each in results):
        pool.cluster.close()
    return list(results)
