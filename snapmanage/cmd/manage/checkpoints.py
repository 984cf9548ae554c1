"""snapmanage-manage audit key, checkpoint and purge: prove the rows of the audit log, and delete old ones."""

from pathlib import Path
from typing import Any

from oslo_config import cfg

from snapmanage.audit import checkpoints, signing
from snapmanage.cmd.process import output
from snapmanage.cmd.wiring import parts
from snapmanage.core.audit import checkpoint as texts
from snapmanage.core.audit.checkpoint import Checkpoint
from snapmanage.files import new_file

PUBLIC_SUFFIX = ".pub"


def add_commands(actions: Any) -> None:
    """Add the actions about checkpoints to `audit`."""
    keys = actions.add_parser("key", help="make a key that signs checkpoints").add_subparsers(
        dest="key_action", required=True
    )
    create = keys.add_parser(
        "create", help=f"write a new private key to FILE, and its public key to FILE{PUBLIC_SUFFIX}"
    )
    create.add_argument("file", metavar="FILE", type=Path, help="file of the private key, which must not exist")
    create.set_defaults(run=_create_key)
    checkpoint = actions.add_parser(
        "checkpoint", help="verify the chain, and print a signed statement about its rows, to be kept elsewhere"
    )
    checkpoint.add_argument("--key", metavar="FILE", type=Path, required=True, help="private key, made by key create")
    checkpoint.add_argument("--output", metavar="FILE", type=Path, help="write to a new file instead of printing")
    checkpoint.set_defaults(run=_checkpoint)
    purge = actions.add_parser(
        "purge",
        help="delete the rows that a checkpoint covers; export them first; "
        "the chain must be unbroken up to the checkpoint",
    )
    add_checkpoint_arguments(purge, required=True)
    purge.add_argument("--dry-run", action="store_true", help="show the rows that would be deleted, and delete nothing")
    purge.set_defaults(run=_purge)


def add_checkpoint_arguments(parser: Any, required: bool) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, required=required, help="signed checkpoint")
    parser.add_argument(
        "--public-key", metavar="FILE", type=Path, required=required, help="public key of the checkpoint's signature"
    )


def given_checkpoint(conf: cfg.ConfigOpts) -> Checkpoint:
    """Return the checkpoint of the arguments; raise `InvalidRequest` unless the public key's owner has signed it."""
    return signing.verified(conf.command.checkpoint, signing.public_key(conf.command.public_key))


def _create_key(conf: cfg.ConfigOpts) -> None:
    private, pair = conf.command.file, signing.new_key()
    public = private.with_name(private.name + PUBLIC_SUFFIX)
    with new_file(public, 0o644) as public_file, new_file(private) as private_file:
        private_file.write(pair.private.decode())
        public_file.write(pair.public.decode())
    output.line(f"Wrote the private key {private} and the public key {public}.")


def _checkpoint(conf: cfg.ConfigOpts) -> None:
    key = signing.private_key(conf.command.key)
    with parts.opened_database(conf) as db:
        made = checkpoints.make(db, signing.fingerprint(key.public_key()))
    text = texts.dump(made, key.sign(made.signed_text.encode()))
    if conf.command.output is None:
        output.line(text.rstrip("\n"))
        return
    with new_file(conf.command.output) as file:
        file.write(text)
    output.line(f"Wrote the checkpoint of {made.head} to {conf.command.output}.")


def _purge(conf: cfg.ConfigOpts) -> None:
    checkpoint = given_checkpoint(conf)
    with parts.opened_database(conf) as db:
        planned = checkpoints.plan_purge(db, checkpoint)
        if not planned.rows:
            output.line(f"No row up to {checkpoint.head.number} is left.")
        elif conf.command.dry_run:
            output.line(f"Would delete rows {planned.first} to {planned.last} ({planned.rows} rows).")
        else:
            for base in checkpoints.purge(db, planned):
                output.line(f"Deleted the rows up to {base.number} of {planned.last}.")
