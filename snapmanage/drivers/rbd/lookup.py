"""Images and snapshots of a pool by their identities and names, including those in the trash."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import Reading, SnapshotIds
from snapmanage.drivers.rbd.unreadable import ImageUnreadable

# Opens an image by `name` or by `image_id`; raises `SourceNotFound` where the pool has none.
ImageOpener = Callable[..., AbstractContextManager[OpenImage]]
# Returns the readings of a name.
NameReader = Callable[[str], Sequence[Reading]]


def locate(
    readers: Executor,
    open_image: ImageOpener,
    readings: NameReader,
    identities: Collection[str],
    names: Collection[str],
) -> list[BackendObject]:
    """Return the objects that have one of the identities or names; open each image at most once by id and by name."""
    by_id = _grouped((identity.partition("@")[0], identity) for identity in identities)
    by_name = _grouped((reading.image, name) for name in names for reading in readings(name))
    by_name.update({name: [*by_name.get(name, ()), name] for name in names})
    found = [
        *readers.map(partial(_locate_by_id, open_image), by_id, by_id.values()),
        *readers.map(partial(_locate_by_name, open_image), by_name, by_name.values()),
    ]
    return list(dict.fromkeys(each for objects in found for each in objects))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for image, each in pairs:
        grouped[image].append(each)
    return grouped


def _locate_by_id(open_image: ImageOpener, image_id: str, identities: Sequence[str]) -> list[BackendObject]:
    snapshots = [SnapshotIds.parse(each).snapshot for each in identities if each != image_id]
    try:
        with open_image(image_id=image_id) as image:
            found_image = [BackendObject(image.name, image_id)] if image_id in identities else []
            found = [image.find_id(each) for each in snapshots]
            return found_image + [BackendObject(each.name, each.identity) for each in found if each]
    except errors.SourceNotFound:
        return []
    except ImageUnreadable as failure:
        # Report them all, so that none counts as gone. A search by their old names would find none of them if the image
        # was renamed.
        name = failure.image.name
        return [
            BackendObject(name if each == image_id else f"{name}@(id {SnapshotIds.parse(each).snapshot})", each)
            for each in identities
        ]


def _locate_by_name(open_image: ImageOpener, image_name: str, names: Sequence[str]) -> list[BackendObject]:
    try:
        with open_image(name=image_name) as image:
            found_image = [BackendObject(image.name, image.volume().identity)] if image_name in names else []
            return found_image + [BackendObject(name, each.identity) for name, each in image.find_all(*names).items()]
    except errors.SourceNotFound:
        return []
    except ImageUnreadable:
        return [BackendObject(name, "") for name in names]
