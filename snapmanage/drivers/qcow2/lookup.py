"""Everything in a directory of images that has one of some names or identities, be it a snapshot or not.

A file is found whether or not an overlay records it, under hidden names too. A snapshot inside of an image counts
as there where the image's own snapshots can't be read.
"""

from collections.abc import Collection, Iterator, Mapping

from snapmanage.core.backend import BackendObject
from snapmanage.drivers.qcow2.directory import Directory


def located(directory: Directory, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
    """Return files and internal snapshots that have one of the identities or names; `BackendError`."""
    files = {name: identity for name in directory.names() if (identity := directory.identity(name))}
    every = [BackendObject(name, identity) for name, identity in files.items()]
    every += _inside(directory, files, identities, names)
    return [each for each in every if each.identity in identities or each.name in names]


def _inside(
    directory: Directory, files: Mapping[str, str], identities: Collection[str], names: Collection[str]
) -> Iterator[BackendObject]:
    """Read the images in which one of the snapshots may be."""
    asked_files = {name.partition("/")[0] for name in names if "/" in name}
    asked_images = {identity.partition("/")[0] for identity in identities if "/" in identity}
    for name, identity in files.items():
        if name in asked_files or identity in asked_images:
            yield from _snapshots(directory, name, identity, identities, names)


def _snapshots(
    directory: Directory, file: str, identity: str, identities: Collection[str], names: Collection[str]
) -> Iterator[BackendObject]:
    if (image := directory.look_at(file)) is None:
        return
    if image.barred or image.opaque or (image.header and image.header.internal_wrong):
        yield from (BackendObject(name, "") for name in names if name.startswith(f"{file}/"))
        yield from (BackendObject(file, each) for each in identities if each.startswith(f"{identity}/"))
        return
    for entry in image.header.internal if image.header else ():
        yield BackendObject(f"{file}/{entry.id}", f"{image.identity}/{entry.mark}")
