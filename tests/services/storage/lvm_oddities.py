"""Odd shapes of logical volumes, as LVM writes them into a group's metadata; see `lvm_metadata`.

A function returns the sections of one shape, for `MetadataGroup.add`. Most volumes are two extents long.
"""

from snapmanage.testing.services.lvm_metadata import HIDDEN, VISIBLE, MetadataGroup

EXTENTS = 2
READ_ONLY = '"READ", "VISIBLE"'
LOCKED = f'{VISIBLE}, "LOCKED"'
SKIPPED = '"ACTIVATION_SKIP"'
LONGEST_NAME = "x" * 114

_CACHE_POOL = 'chunk_size = 128 metadata_format = 2 cache_mode = "writethrough" policy = "smq"'
_VDO_POOL = f"""
header_size = 1024 virtual_extents = {EXTENTS} minimum_io_size = 4096 block_map_cache_size_mb = 128
block_map_era_length = 16380 use_sparse_index = 0 index_memory_size_mb = 256 max_discard = 1 slab_size_mb = 2048
ack_threads = 1 bio_threads = 4 bio_rotation = 64 cpu_threads = 2 hash_zone_threads = 1 logical_threads = 1
physical_threads = 1
"""


def add_all(group: MetadataGroup) -> set[str]:
    """Add every shape to a group that has a pool; return the names of the objects that are not snapshots."""
    thick = {
        "raid": raid(group, "raid"),
        "checked-raid": raid(group, "checked-raid", integrity=True),
        "mirror": mirror(group, "mirror"),
        "cached": cached(group, "cached"),
        "writecached": writecached(group, "writecached"),
        "vdo": vdo(group, "vdo"),
    }
    of_thick = [part for name in thick for part in group.thick_snapshot(name, f"{name}-daily", EXTENTS)]
    group.add([*(part for parts in thick.values() for part in parts), *of_thick, *_thin_shapes(group)])
    group.lvm("lvchange", "--addtag", "a=b/c:d!e&f#g", "--addtag", "X+y.z-_", f"{group.name}/tagged")
    return {*thick, "vdo-pool", "cache-pool", "base", "restored-0", "merging-origin", "orphan", "unmarked-orphan"}


def _thin_shapes(group: MetadataGroup) -> list[str]:
    odd_names = ("tagged", LONGEST_NAME, "old_vdata", "snapshot-old", "pvmove7")
    return [
        *linked_clones(group, "restored"),
        *external_origin(group, "base", "clone-1", "clone-2"),
        *cache_pool(group, "cache-pool"),
        *merging(group, "merging-origin", "merging"),
        *(thin(group, name, "restored-0") for name in odd_names),
        aged(group, "aged", "restored-0"),
        thin(group, "locked", "restored-0", status=LOCKED),
        thin(group, "orphan", flags=SKIPPED),
        thin(group, "unmarked-orphan"),
    ]


def thin(
    group: MetadataGroup, name: str, origin: str = "", *, status: str = VISIBLE, flags: str = "", more: str = ""
) -> str:
    """Return a thin volume; with an origin, a thin snapshot."""
    of = f'origin = "{origin}"' if origin else ""
    return group.section(name, EXTENTS, f"{group.thin()}\n{of} {more}", status=status, flags=flags)


def linked_clones(group: MetadataGroup, name: str) -> list[str]:
    """Return a volume, its snapshot, a volume restored from it, and the snapshot of that: `name-0` to `name-3`."""
    return [
        thin(group, f"{name}-0"),
        thin(group, f"{name}-1", f"{name}-0", flags=SKIPPED),
        thin(group, f"{name}-2", f"{name}-1"),
        thin(group, f"{name}-3", f"{name}-2", flags=SKIPPED),
    ]


def external_origin(group: MetadataGroup, origin: str, *names: str) -> list[str]:
    """Return a read-only volume outside of the pool, and thin snapshots of it."""
    return [
        group.section(origin, EXTENTS, group.linear(EXTENTS), status=READ_ONLY),
        *(thin(group, name, more=f'external_origin = "{origin}"') for name in names),
    ]


def merging(group: MetadataGroup, origin: str, name: str) -> list[str]:
    """Return a thin volume and a snapshot that is merged into it at the next activation."""
    return [thin(group, origin), thin(group, name, origin, status=HIDDEN, more=f'merge = "{origin}"')]


def aged(group: MetadataGroup, name: str, origin: str) -> str:
    """Return a thin snapshot with an invalid time of creation."""
    return thin(group, name, origin).replace("creation_time = ", "creation_time = 99999999")


def unknown(group: MetadataGroup, name: str) -> list[str]:
    """Return a volume of a kind that only a later lvm2 knows."""
    return [group.section(name, EXTENTS, 'type = "later" novelty = 1')]


def raid(group: MetadataGroup, name: str, integrity: bool = False) -> list[str]:
    """Return a mirror of MD's module; with `integrity`, each half has checksums."""
    parts = ", ".join(f'"{name}_rmeta_{half}", "{name}_rimage_{half}"' for half in (0, 1))
    return [
        group.section(name, EXTENTS, f'type = "raid1" device_count = 2 region_size = 4096 raids = [{parts}]'),
        *(_hidden(group, f"{name}_rmeta_{half}") for half in (0, 1)),
        *(part for half in (0, 1) for part in _image(group, f"{name}_rimage_{half}", integrity)),
    ]


def _image(group: MetadataGroup, name: str, integrity: bool) -> list[str]:
    if not integrity:
        return [_hidden(group, name)]
    segment = (
        f'type = "integrity" origin = "{name}_iorig" data_sectors = 16384 mode = "B" tag_size = 4 block_size = 512\n'
        f'internal_hash = "crc32c" meta_dev = "{name}_imeta"'
    )
    return [_hidden(group, name, segment), _hidden(group, f"{name}_iorig"), _hidden(group, f"{name}_imeta")]


def mirror(group: MetadataGroup, name: str) -> list[str]:
    """Return a mirror of device-mapper's own, older module."""
    images = f'mirrors = ["{name}_mimage_0", 0, "{name}_mimage_1", 0]'
    return [
        group.section(name, EXTENTS, f'type = "mirror" mirror_count = 2 region_size = 1024\n{images}'),
        *(_hidden(group, f"{name}_mimage_{half}") for half in (0, 1)),
    ]


def cached(group: MetadataGroup, name: str) -> list[str]:
    """Return a volume with a hidden cache pool of its own."""
    pool = f"{name}-fast_cpool"
    return [
        group.section(name, EXTENTS, f'type = "cache" cache_pool = "{pool}" origin = "{name}_corig"'),
        _hidden(group, f"{name}_corig"),
        *cache_pool(group, pool, status=HIDDEN),
    ]


def cache_pool(group: MetadataGroup, name: str, status: str = VISIBLE) -> list[str]:
    data, metadata = f"{name}_cdata", f"{name}_cmeta"
    segment = f'type = "cache-pool" data = "{data}" metadata = "{metadata}" {_CACHE_POOL}'
    return [
        group.section(name, EXTENTS, segment, status=status),
        _hidden(group, data),
        _hidden(group, metadata),
    ]


def writecached(group: MetadataGroup, name: str) -> list[str]:
    """Return a volume with a hidden volume that caches its writes."""
    segment = f'type = "writecache" origin = "{name}_wcorig" writecache = "{name}-fast_cvol"'
    return [
        group.section(name, EXTENTS, f"{segment} writecache_block_size = 4096"),
        _hidden(group, f"{name}_wcorig"),
        group.section(f"{name}-fast_cvol", EXTENTS, group.linear(EXTENTS), status=HIDDEN, flags='"CACHE_VOL"'),
    ]


def vdo(group: MetadataGroup, name: str) -> list[str]:
    """Return a deduplicated volume with a pool of its own."""
    extents = 2000
    return [
        group.section(name, EXTENTS, f'type = "vdo" vdo_pool = "{name}-pool" vdo_offset = 0'),
        group.section(f"{name}-pool", extents, f'type = "vdo-pool" data = "{name}-pool_vdata"\n{_VDO_POOL}'),
        group.section(f"{name}-pool_vdata", extents, group.linear(extents), status=HIDDEN),
    ]


def _hidden(group: MetadataGroup, name: str, segment: str | None = None) -> str:
    return group.section(name, EXTENTS, segment or group.linear(EXTENTS), status=HIDDEN)
