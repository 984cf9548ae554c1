"""The JSON Schemas of all answers, for the OpenAPI document; tests check that the answers agree with them."""

from typing import Any

from snapmanage.api.answers import administration, records

# By the names that the routes table uses.
SCHEMAS: dict[str, dict[str, Any]] = records.SCHEMAS | administration.SCHEMAS
