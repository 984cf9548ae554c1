"""ZFS's own rules for names; nothing that breaks them ever becomes an argument of a command."""

import re

LONGEST_NAME = 255
"""Characters of a whole name, those of dataset and snapshot together."""

_CHARACTERS = "[a-zA-Z0-9_.: -]"
_DATASET = re.compile(f"[a-zA-Z]{_CHARACTERS}*(/{_CHARACTERS}+)*", re.ASCII)
_SNAPSHOT = re.compile(f"{_CHARACTERS}+", re.ASCII)


def is_dataset(name: str) -> bool:
    """Whether a file system or a volume could be called so."""
    return bool(_DATASET.fullmatch(name)) and len(name) <= LONGEST_NAME


def is_snapshot(name: str) -> bool:
    """Whether a snapshot could have this whole name, `DATASET@NAME`."""
    dataset, _, own = name.partition("@")
    return is_dataset(dataset) and bool(_SNAPSHOT.fullmatch(own)) and len(name) <= LONGEST_NAME


def dataset_of(name: str) -> str:
    """The dataset that a whole name tells of; the name itself where it is no snapshot's."""
    return name.partition("@")[0]


def pool_of(name: str) -> str:
    return dataset_of(name).partition("/")[0]


def is_within(name: str, dataset: str) -> bool:
    """Whether it is the dataset, a dataset beneath it, or a snapshot of one of them."""
    own = dataset_of(name)
    return own == dataset or own.startswith(f"{dataset}/")
