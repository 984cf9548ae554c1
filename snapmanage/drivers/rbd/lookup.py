"""Images and snapshots of a pool by their names and ids, whatever made them and wherever they are: in the trash too."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.rbd import names as rbd_names
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import Ids
from snapmanage.drivers.rbd.unreadable import ImageUnreadable

# Opens an image by `name` or by `image_id`; `SourceNotFound` where there is none.
Opened = Callable[..., AbstractContextManager[OpenImage]]


def located(
    readers: Executor, opened: Opened, identities: Collection[str], names: Collection[str]
) -> list[BackendObject]:
    """Return what has one of the identities or names; each image is opened once by its id, and once by its name."""
    by_id = _grouped((identity.partition("@")[0], identity) for identity in identities)
    by_name = _grouped((reading.image, name) for name in names for reading in rbd_names.readings(name, None))
    by_name.update({name: [*by_name.get(name, ()), name] for name in names})
    found = [
        *readers.map(partial(_by_id, opened), by_id, by_id.values()),
        *readers.map(partial(_by_name, opened), by_name, by_name.values()),
    ]
    return list(dict.fromkeys(each for objects in found for each in objects))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for image, each in pairs:
        grouped[image].append(each)
    return grouped


def _by_id(opened: Opened, image_id: str, identities: Sequence[str]) -> list[BackendObject]:
    snapshots = [Ids.parse(each).snapshot for each in identities if each != image_id]
    try:
        with opened(image_id=image_id) as image:
            itself = [BackendObject(image.name, image_id)] if image_id in identities else []
            found = [image.find_id(each) for each in snapshots]
            return itself + [BackendObject(each.name, each.identity) for each in found if each]
    except errors.SourceNotFound:
        return []
    except ImageUnreadable as failure:
        # The image may have another name by now, so that nothing would be found by the old one.
        name = failure.listed.name
        return [
            BackendObject(name if each == image_id else f"{name}@(id {Ids.parse(each).snapshot})", each)
            for each in identities
        ]


def _by_name(opened: Opened, image_name: str, names: Sequence[str]) -> list[BackendObject]:
    try:
        with opened(name=image_name) as image:
            itself = [BackendObject(image.name, image.volume().identity)] if image_name in names else []
            return itself + [BackendObject(name, each.identity) for name, each in image.look(*names).items()]
    except errors.SourceNotFound:
        return []
    except ImageUnreadable:
        return [BackendObject(name, "") for name in names]
