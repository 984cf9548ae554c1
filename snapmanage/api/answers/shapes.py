"""The parts that the JSON Schemas of answers are made of."""

from typing import Any

TEXT = {"type": "string"}
NULL = {"type": "null"}
COUNT = {"type": "integer", "minimum": 0}
ID = {"type": "string", "format": "uuid"}
TIME = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}$", "description": "In UTC."}
METADATA = {"type": "object", "additionalProperties": TEXT}


def object_of(properties: dict[str, Any], **sometimes: Any) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties; those in `sometimes` are optional."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties | sometimes,
    }


def list_of(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]}


def page_of(name: str, entry: str) -> dict[str, Any]:
    """Return the schema of a page: entries, and optionally a link to the next page and a count."""
    return object_of({name: list_of(ref(entry))}, **{f"{name}_links": ref("links"), "count": COUNT})
