"""Read the file of `plan --from`: chosen snapshots with their new names, as CSV, YAML or JSON Lines."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from snapmanage import errors
from snapmanage.client.plan.cells import text_of
from snapmanage.client.selection.found import name_of
from snapmanage.core.values.text import cut, readable

# The beginning of the names of columns with metadata, before the key.
METADATA = "metadata."


@dataclass(frozen=True)
class Row:
    """A chosen snapshot; the fields that are None are made by the templates."""

    source: str
    host: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str | None]:
        """Return the key of the row among others: several hosts may have a snapshot of the same name."""
        return self.source, self.host


def read(path: Path) -> dict[tuple[str, str | None], Row]:
    """Return the rows by their keys; raise `InvalidRequest`, which names the file, if it has none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = {row.key: row for row in map(_row, _values(path, file)) if row is not None}
    except (OSError, ValueError, RecursionError, csv.Error, yaml.YAMLError) as error:
        raise errors.InvalidRequest(readable(f"{path} can't be read: {error}")) from error
    if not rows:
        raise errors.InvalidRequest(f"{readable(str(path))} names no snapshot; its rows need the column source")
    return rows


def _values(path: Path, file: IO[str]) -> Iterable[Mapping[str, Any]]:
    match path.suffix.lower():
        case ".csv":
            return map(_read, csv.DictReader(file))
        case ".yaml" | ".yml":
            return _objects(yaml.safe_load(file))
        case ".jsonl" | ".json":
            return map(json.loads, filter(str.strip, file))
    raise errors.InvalidRequest(f"{readable(str(path))} must end in .csv, .yaml or .jsonl")


def _read(row: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Return a row of CSV with its texts; cells without a column have the key None."""
    return {text_of(str(key)): text_of(value) if isinstance(value, str) else value for key, value in row.items()}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    raise ValueError("it must be a list of objects")


def _row(value: Mapping[str, Any]) -> Row | None:
    """Return a row; None for the entries of a plan that manage nothing."""
    if not isinstance(value, Mapping):
        raise ValueError("each line must be a JSON object")
    fields = {_column(str(key)): each for key, each in value.items()}
    if fields.get("do", "manage") != "manage":
        return None
    reference = fields.get("ref")
    source = name_of(reference) if isinstance(reference, Mapping) else fields.get("source")
    if not source:
        return None
    host, name, description = (_text(fields, key) for key in ("host", "name", "description"))
    return Row(_scalar("source", source), host, name, description, dict(_metadata(fields)))


def _column(name: str) -> str:
    """Return the name of a column, whose case does not count, except in the key of a pair of metadata."""
    start, end = name.lstrip()[: len(METADATA)].lower(), name.lstrip()[len(METADATA) :]
    return start + end if start == METADATA else name.strip().lower()


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    return _scalar(key, fields[key]) if fields.get(key) else None


def _metadata(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(fields.get("metadata"), Mapping):
        yield from ((str(key), _scalar(str(key), value)) for key, value in fields["metadata"].items())
    for key, value in fields.items():
        if key.startswith(METADATA) and value:
            yield key.removeprefix(METADATA), _scalar(key, value)


def _scalar(name: str, value: Any) -> str:
    """Return a value as text; a list in YAML may stand for gigabytes of text."""
    if isinstance(value, (list, Mapping)):
        raise ValueError(f"{cut(name)} must be a text, not a list or an object")
    return str(value)
