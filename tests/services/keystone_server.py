"""Keystone in one process: create its database and its administrator, then serve on the loopback.

`keystone.py` runs this program with `OS_KEYSTONE_CONFIG_FILES` and `OS_BOOTSTRAP_PASSWORD`. The import of Keystone
takes longer than its work here, so the two commands before the server are children of this process.
"""

import os
import sys

import snapmanage.cmd  # noqa: F401 - the first import selects threads for oslo.service, for Keystone too


def manage(*arguments: str) -> None:
    """Run `keystone-manage` in a child process, since it changes the global configuration."""
    from keystone.cmd import cli

    child = os.fork()
    if child == 0:
        cli.main(["keystone-manage", "--config-file", os.environ["OS_KEYSTONE_CONFIG_FILES"], *arguments])
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"keystone-manage {arguments[0]} failed")


def serve(port: int) -> None:
    import waitress
    from keystone.server.wsgi import initialize_public_application

    waitress.serve(initialize_public_application(), host="127.0.0.1", port=port, threads=4)


def main(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v3"
    manage("db_sync")
    manage("bootstrap", "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-region-id", "test")
    serve(port)


if __name__ == "__main__":
    main(int(sys.argv.pop()))  # Keystone reads the command line itself
