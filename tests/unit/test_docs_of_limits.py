"""The page of limits has the numbers that the code has."""

import re
from pathlib import Path
from typing import Any

import pytest

import snapmanage
from snapmanage import conf, errors, relay
from snapmanage.api import app, bodies, lists, schemas, waiting_lists
from snapmanage.api.access import cadf, callers, http_basic, policy, tokens
from snapmanage.api.answers import faults
from snapmanage.api.handlers import batches, quotas
from snapmanage.api.serving import acceptor, budgets, channels, parser, server
from snapmanage.api.serving.channels import DEADLINES
from snapmanage.audit import signing
from snapmanage.audit.listener import LARGEST_READ
from snapmanage.bus import envelope
from snapmanage.bus.rabbit import arrived, frames, queue_consumer
from snapmanage.cmd import privileged
from snapmanage.cmd.process import arguments as command_lines
from snapmanage.cmd.wiring import management, origins
from snapmanage.core import reference
from snapmanage.core.audit import payloads
from snapmanage.core.lists import filters, paging, selectors, sorting, times
from snapmanage.core.maintenance.purge import MINIMUM_AGE
from snapmanage.core.origins import definitions, forms
from snapmanage.core.values import metadata, text
from snapmanage.drivers.btrfs import members, paths, snapper
from snapmanage.drivers.cinder import process
from snapmanage.drivers.qcow2 import directory, format, obstacles, qemu_img, renamer
from snapmanage.drivers.qcow2 import driver as qcow2_driver
from snapmanage.drivers.system import commands, deadline
from snapmanage.manage import group_commit, keys, queries, snapshot_requests
from snapmanage.manage.maintenance import purge, redelivery
from snapmanage.store import ownership, quarantine
from snapmanage.store.audit import log, purging
from snapmanage.store.engine import database, digests, failures
from snapmanage.upstream import client
from snapmanage.volume import arguments, driver_call, driver_pool, fairness, scans
from snapmanage.volume import callers as rpc_callers

PAGE = (Path(snapmanage.__file__).parents[1] / "docs" / "reference" / "limits.md").read_text()
KIB, MIB, GIB = 1024, 1024**2, 1024**3
WORDS = {10: "ten"}
COMMAND = commands.Limits()
SCHEMA: Any = schemas.MANAGE_VOLUME.schema
VOLUME = SCHEMA["properties"]["volume"]["properties"]


def option(name: str, group: str = "") -> str:
    """Return an option as the page writes it, with its default; without a group it is an option of each backend."""
    [found] = [each for each in (conf.GROUPS[group] if group else conf.BACKEND) if each.name == name]
    default = f"{found.default:,}" if isinstance(found.default, int) else f"{found.default:g}"
    return f"`[{group}] {name}`, {default}" if group else f"`{name}` of the backend, {default}"


VALUES: dict[str, Any] = {
    "head of an API request": f"{parser.LARGEST_HEAD // KIB} KiB, {parser.MOST_HEADERS} headers",
    "time of a head; of a body": f"{DEADLINES.head:g} s; {DEADLINES.body:g} s",
    "time in which a client reads an answer": f"{DEADLINES.answer:g} s",
    "idle time of a connection to the API": f"{DEADLINES.idle:g} s; {DEADLINES.head:g} s before",
    "connections to an API process": f"{acceptor.OTHER_FILES} less than `RLIMIT_NOFILE`",
    "connections to an API": f"at most {acceptor.MOST_CONNECTIONS:,}",
    "requests of an API process": f"{acceptor.MOST_HELD // MIB} MiB in a process | 503 for those of "
    f"the client that holds most; requests of at most {budgets.SPARED_BYTES // KIB} KiB",
    "answers that clients have not read": f"{acceptor.MOST_UNSENT // MIB} MiB in a process",
    "unread part of an answer": f"{channels.MOST_UNSENT_OF_ONE // MIB} MiB",
    "requests that a client sends in advance": f"{int(str(server.ADJUSTMENTS['recv_bytes'])) // KIB} KiB",
    "clients that wait to be connected": f"{server.BACKLOG:,}",
    "time to finish running API requests": f"{server.SHUTDOWN_SECONDS} s",
    "answer of an upstream API": f"{client.LARGEST_ANSWER // KIB} KiB; {option('timeout_seconds', 'upstream')} s",
    "`Retry-After` of an upstream API": f"{client.LONGEST_RETRY_AFTER:,.0f} s",
    "requests to an upstream API": deadline.MOST_HUNG,
    "outcomes that a process reports": option("parallel", "upstream"),
    "body of a request": f"{option('max_request_body_size', 'api')} bytes",
    "body of a batch": f"{option('max_batch_body_size', 'api')} bytes",
    "entries of a batch": f"{schemas.MOST_ENTRIES:,}; {schemas.MOST_VALUES_OF_BATCH:,}",
    "snapshots that the answer to a batch shows": f"{queries.LARGEST_PAGE // MIB} Mi characters as JSON",
    "requests for single snapshots in one": f"{group_commit.LARGEST_GROUP} of a project",
    "time for which they wait together": f"{snapshot_requests.LOCK_SECONDS} s; {group_commit.PATIENCE_SECONDS} s",
    "decisions of policies": f"{policy.MOST_DECISIONS:,}, for {policy.LOOK_SECONDS:g} s",
    "`Idempotency-Key` of a batch": f"{batches.LONGEST_KEY} characters",
    "parameters of a query": app.MOST_PARAMETERS,
    "project in a path": f"{callers.LONGEST_NAME} characters",
    "prefix of a path": f"{app.LONGEST_PREFIX} characters",
    "password (`http_basic`)": f"{http_basic.LONGEST_PASSWORD} bytes",
    "wrong passwords of an address": option("wrong_passwords_per_minute", "api"),
    "cost of a hash": f"{http_basic.LOWEST_COST} to {http_basic.HIGHEST_COST}",
    "name, description": f"{VOLUME['name']['maxLength']} characters",
    "pairs of the metadata of a record, also after an edit": metadata.MOST_PAIRS,
    "comparisons of a filter `created_at` or `updated_at`": len(times.OPERATORS),
    "`host` of a new volume": f"{VOLUME['host']['maxLength']} characters",
    "`host` and `cluster` of a list": f"{schemas.LONGEST_HOST} characters",
    "levels of nesting in a body": text.DEEPEST,
    "number in a body": f"{bodies.LARGEST_NUMBER.bit_length() + 1} bits",
    "project of a quota set": f"{callers.LONGEST_NAME} characters",
    "limit in a quota set": f"{quotas.LARGEST_LIMIT:,}",
    "hosts that the refusal of an unknown host lists": errors.MOST_HOSTS,
    "text of a refusal of the API": f"{faults.LONGEST_TEXT:,} characters",
    "failed snapshots and volumes of a project": option("failed_records", "quota"),
    "entries on a page": option("osapi_max_limit", "api"),
    "records or messages on a page": f"{queries.LARGEST_PAGE // MIB} Mi characters",
    "metadata in a summary of volumes": f"{queries.LARGEST_PAGE // MIB} Mi characters",
    "`offset`": f"{schemas.LARGEST_OFFSET:,}",
    "pairs of the filter `metadata`": f"{paging.MOST_PAIRS}, in {lists.LONGEST_METADATA:,} characters",
    "each filter such as `name~`": f"{paging.LONGEST_PART} characters",
    "keys of `sort` in a list of records": paging.MOST_SORT_KEYS,
    "keys of `sort` in a list of manageable": len(sorting.SORT_KEYS),
    "`name~` of manageable snapshots or volumes": f"{filters.LONGEST_NAME_PART} characters",
    "`name` of manageable": f"{selectors.LONGEST_GLOB} characters, {selectors.MOST_WILDCARDS} `*`",
    "`origin` and `class` of manageable": f"{selectors.LONGEST_GLOB} characters each",
    "file of `[DEFAULT] origins_file`": f"{origins.LARGEST_FILE // KIB} KiB, {definitions.MOST_ENTRIES} entries with "
    f"up to {definitions.MOST_TEXTS} texts each of {definitions.LONGEST_TEXT} characters, {forms.MOST_WILDCARDS} `*`",
    "metadata of a snapshot with those of its": f"{metadata.MOST_PAIRS} pairs",
    "events of `GET /snapshots/ID/operation`": f"the newest {queries.SHOWN_EVENTS}, of which the API reads "
    f"{queries.SHOWN_BYTES // MIB} MiB",
    "time of a list of manageable": f"{option('call_timeout_seconds', 'api')} s",
    "request over the bus": f"{envelope.LARGEST_REQUEST // MIB} MiB",
    "messages handled at once": f"{queue_consumer.HOLD_SECONDS:g} seconds",
    "properties and headers of a message": f"{frames.LARGEST_PROPERTIES // KIB} KiB",
    "name of the queue of a reply": f"{envelope.LONGEST_QUEUE_NAME} bytes",
    "id of a call": f"{envelope.LONGEST_CALL_ID} characters",
    "answer to a call": f"{envelope.LARGEST_REPLY // MIB} MiB",
    "event over the bus": f"{envelope.LARGEST_EVENT // MIB} MiB",
    "notification that is parsed": f"{LARGEST_READ // KIB} KiB",
    "messages that a consumer holds": f"{arrived.MOST_MESSAGES} messages, and {arrived.MOST_BYTES // MIB} MiB",
    "levels of nesting in the `ref` of a cast": text.DEEPEST,
    "levels of nesting in the payload of an event": text.DEEPEST_EVENT,
    "levels of nesting in a header": text.DEEPEST,
    "answer of the management API": f"{management.LARGEST_ANSWER // MIB} MiB, {management.TIMEOUT_SECONDS} s",
    "opening brackets": f"{envelope.MOST_BRACKETS:,}",
    "values and keys in the `ref`": f"{reference.MOST_VALUES:,}",
    "values and keys in the payload": f"{payloads.MOST_VALUES:,}",
    "time, status and code": f"{payloads.LONGEST_FIELD} characters each; {text.LONGEST_REASON:,} characters",
    "characters of a `ref`": f"{reference.LONGEST_TEXT:,}",
    "pairs of the metadata of a cast": f"{arguments.MOST_PAIRS:,}; {arguments.LARGEST_METADATA:,}",
    "texts of a cast": f"{arguments.LONGEST_TEXT} characters",
    "entries in the answer to `get_manageable_snapshots` and `get_manageable_volumes`": f"{filters.MOST_ENTRIES:,}",
    "calls to one server without an answer": f"{rpc_callers.MOST_CALLS}, of which {rpc_callers.THREADS}",
    "messages that a relay keeps": f"{relay.MEMORY_LIMIT:,}",
    "messages that a relay sends": option("batch", "relay"),
    "attempts of an operation": option("max_attempts", "operations"),
    "attempts at a message": option("max_attempts", "operations"),
    "driver calls at the same time": option("driver_calls"),
    "time of one driver call": f"{option('driver_timeout_seconds')} s",
    "operations in one call of a driver that takes many": f"finishes in {driver_call.BATCH_SECONDS:g} s",
    "operations in one call of a driver that takes one object": f"finishes in {driver_call.JOINED_SECONDS:g} s",
    "threads of hung driver calls": f"{driver_pool.HUNG_POOLS} times",
    "lists of records that the database works on": f"has taken {waiting_lists.SLOW_SECONDS:g} s",
    "time of a list of records": f"{queries.LIST_SECONDS:g} s",
    "lists of records that wait": f"has taken {waiting_lists.QUICK_SECONDS:g} s",
    "abandoned listings and checks": deadline.MOST_HUNG,
    "projects in the round robin": f"{fairness.MAX_PROJECTS:,}",
    "entries of the scans that a process keeps": f"{scans.MOST_ENTRIES:,}",
    "time for which a scan is kept": f"{option('inventory_ttl_seconds')} s",
    "argument of a command": f"{command_lines.LONGEST_ARGUMENT:,} printable",
    "name, id or reason in an argument": f"{command_lines.LONGEST_NAME} characters",
    "number of rows, limit": f"{command_lines.LARGEST:,}",
    "number of seconds": f"below {command_lines.MOST_SECONDS:,}",
    "file of a key or of a checkpoint": f"{signing.LARGEST_FILE // KIB} KiB",
    "address space": f"{COMMAND.memory_bytes // GIB} GiB; `qemu-img` {qemu_img.MEMORY_BYTES // GIB} GiB",
    "processor time": f"{commands.GRACE_SECONDS} s more",
    "a file that a command": f"{COMMAND.file_bytes // GIB} GiB; `qemu-img` the size of its image and "
    f"{qemu_img.GROWTH_BYTES // MIB} MiB more",
    "output of a command": f"{COMMAND.output_bytes // MIB} MiB each; "
    f"`qemu-img` {qemu_img.OUTPUT_BYTES // MIB} MiB each",
    "an answer of the process": f"{process.MAX_ANSWER_CHARACTERS // MIB} Mi characters",
    "commands of a backend that ignore": f"{commands.MOST_OUTLASTING} for each",
    "requests that the helper": privileged.THREADS,
    "a reply of the helper": f"{privileged.MAX_REPLY_BYTES // MIB} MiB",
    "paths that the names in a file": f"{obstacles.MOST_PATHS:,}",
    "processes of `qemu-img`": renamer.MOST_PROCESSES,
    "renames under one lock of the directory": qcow2_driver.MOST_RENAMES,
    "snapshots inside the images of a directory": f"{directory.MOST_INTERNAL_SNAPSHOTS:,}, and "
    f"{format.MAX_SNAPSHOTS:,} of one",
    "text of the snapshots in a listing": f"{members.MOST_LISTED_BYTES // MIB} MiB",
    "notes of snapper": f"{snapper.LARGEST // KIB} KiB; {snapper.LONGEST_DESCRIPTION} characters",
    "path of a subvolume": f"{paths.MAX_PATH_BYTES:,} bytes; {paths.MAX_FOLDERS} folders",
    "connections of a process": f"2 times `[database] pool_size`, {2 * conf.DATABASE[1].default}",
    "compiled statements": f"{database.STATEMENTS_KEPT} to {database.STATEMENTS_KEPT * 3 // 2}",
    "values in one statement": ownership.IDS_AT_ONCE,
    "objects of a list whose owners one statement": f"{digests.VALUES_AT_ONCE:,}",
    "statement, and text of the database": f"{failures.LONGEST_STATEMENT} and {failures.LONGEST_TEXT} characters",
    "text of a reason": f"{text.LONGEST_REASON:,} characters",
    "field of a log line": f"{text.LONGEST_REASON:,} characters",
    "requests whose CADF events wait": f"{cadf.MOST_WAITING:,}, with {cadf.LONGEST_TEXT:,} characters",
    "accepted passwords": f"{http_basic.MOST_REMEMBERED:,}, for {http_basic.REMEMBERED_SECONDS:g} s",
    "of these, tokens of an address": f"one in {tokens.RESERVED_SHARE}",
    "addresses with a refused token": f"{tokens.MOST_REFUSED:,}, for {tokens.REFUSED_SECONDS:g} s",
    "valid tokens": f"{tokens.MOST_TOKENS:,}",
    "idle time within a transaction": f"{database.IDLE_SECONDS} s",
    "`idempotency_keys`": f"up to {WORDS[keys.EXPIRED_KEYS_PER_REQUEST]} expired",
    "`suspects`": f"up to {WORDS[redelivery.OLD_ROWS_PER_ATTEMPT]} that are a week old",
    "`quarantine`": f"{quarantine.LARGEST_KEPT // MIB} MiB",
    "rows and bytes": f"{purging.ENTRIES_IN_A_PART:,} rows, {purging.BYTES_IN_A_PART // MIB} MiB",
    "age of rows": f"at least {MINIMUM_AGE.days} days",
    "rows that `purge` deletes": purge.BATCH,
    "rows that `audit verify`": f"{log.ENTRIES_AT_ONCE} rows, {log.BYTES_AT_ONCE // MIB} MiB",
}
# Rows without a number, or whose number is not a constant of snapmanage: it follows from other numbers, is a part of a
# regular expression, or belongs to the broker. Other tests check the first two kinds.
NOT_COMPARED = {
    "tokens that a process validates at the same time (`keystone`)",
    "passwords that are checked or wait in a process",
    "addresses with a wrong password that a process remembers (`http_basic`)",
    "`Idempotency-Key`",
    "`X-Openstack-Request-Id`",
    "snapshots and GiB of a project",
    "volumes of a project",
    "lists of manageable snapshots or volumes that wait, of each process",
    "lists that wait for one server, of each process",
    "one message of any kind",
    "operations that a worker holds",
    "entries of a backend",
    "orders that a scan keeps",
    "core dump of a command of a backend, and of the process of the driver `cinder`",
    "processes of a command of a backend",
    "statements of lists with filters, with a marker or in another order",
    "processes on one SQLite database",
    "late repeat of a purged event",
}


def rows(beginning: str = "") -> list[str]:
    """Return the rows of all tables that begin with a text."""
    return [each for each in PAGE.splitlines() if each.startswith(f"| {beginning}") and "| value |" not in each]


@pytest.mark.parametrize(("row", "value"), VALUES.items(), ids=VALUES)
def test_row_has_the_value_of_the_code(row: str, value: object) -> None:
    [line] = rows(row)

    # As whole numbers: a value of 100 is not in a row of 1,000.
    assert re.search(rf"(?<![0-9,]){re.escape(str(value))}(?!,?[0-9])", line)


def test_each_row_is_compared_with_the_code_if_its_number_is_there() -> None:
    limits = PAGE.partition("## Tables that grow")[0] + PAGE.partition("## Purging")[2]
    named = {line.split(" | ")[0].removeprefix("| ") for line in rows() if line in limits}

    assert {name for name in named if not name.startswith(tuple(VALUES))} - {"limit"} == NOT_COMPARED
