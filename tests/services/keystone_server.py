"""Keystone in one process: create its database and its administrator, then serve on the loopback.

`keystone.py` runs this program with `OS_KEYSTONE_CONFIG_FILES` and `OS_BOOTSTRAP_PASSWORD`. The import of Keystone
takes longer than its work here, so the two commands before the server are children of this process.

`SNAPMANAGE_TLS` may have more ports as JSON: `port`, `cert`, `key`, and `ca` if clients need a certificate. The
catalog then has the first of them.
"""

import json
import os
import ssl
import sys
import threading
from typing import Any

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


def serve(port: int, listeners: list[dict[str, Any]]) -> None:
    from cheroot import wsgi
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from keystone.server.wsgi import initialize_public_application

    application = initialize_public_application()
    for listener in listeners:
        server = wsgi.Server(("127.0.0.1", listener["port"]), application, numthreads=2)
        server.ssl_adapter = BuiltinSSLAdapter(listener["cert"], listener["key"])
        if listener["ca"]:
            server.ssl_adapter.context.load_verify_locations(listener["ca"])
            server.ssl_adapter.context.verify_mode = ssl.CERT_REQUIRED
        threading.Thread(target=server.start, daemon=True).start()
    wsgi.Server(("127.0.0.1", port), application, numthreads=4).start()


def main(port: int) -> None:
    listeners = json.loads(os.environ.get("SNAPMANAGE_TLS", "[]"))
    url = f"https://localhost:{listeners[0]['port']}/v3" if listeners else f"http://127.0.0.1:{port}/v3"
    manage("db_sync")
    manage("bootstrap", "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-region-id", "test")
    serve(port, listeners)


if __name__ == "__main__":
    main(int(sys.argv.pop()))  # Keystone reads the command line itself
