"""ZFS's rules for names; a name that breaks them never becomes an argument of a command."""

import re

MAX_NAME_LENGTH = 255
"""Length in characters of the longest whole name, dataset and snapshot together."""

_CHARACTERS = "[a-zA-Z0-9_.: -]"
_DATASET = re.compile(f"[a-zA-Z]{_CHARACTERS}*(/{_CHARACTERS}+)*", re.ASCII)
_SNAPSHOT = re.compile(f"{_CHARACTERS}+", re.ASCII)


def is_dataset_name(name: str) -> bool:
    """Return whether a file system or a volume can have this name."""
    return bool(_DATASET.fullmatch(name)) and len(name) <= MAX_NAME_LENGTH


def is_snapshot_name(name: str) -> bool:
    """Return whether a snapshot can have this whole name, `DATASET@NAME`."""
    dataset, _, snapshot = name.partition("@")
    return is_dataset_name(dataset) and bool(_SNAPSHOT.fullmatch(snapshot)) and len(name) <= MAX_NAME_LENGTH


def dataset_of(name: str) -> str:
    """Return the dataset in a whole name; the name itself where it isn't a snapshot's."""
    return name.partition("@")[0]


def pool_of(name: str) -> str:
    return dataset_of(name).partition("/")[0]


def containers(name: str) -> tuple[str, ...]:
    """Return the datasets that contain an object, from its pool to its own dataset."""
    parts = dataset_of(name).split("/")
    return tuple("/".join(parts[:length]) for length in range(1, len(parts) + 1))


def is_within(name: str, dataset: str) -> bool:
    """Return whether the name is that of the dataset, of a dataset beneath it, or of a snapshot of one of them."""
    its_dataset = dataset_of(name)
    return its_dataset == dataset or its_dataset.startswith(f"{dataset}/")
