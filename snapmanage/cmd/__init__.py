"""The mains: the only package that reads configuration and assembles the parts.

The mains run on threads. oslo.service, a dependency of oslo.messaging, must know this before any other import.
oslo.service also imports eventlet if it can. snapmanage never uses eventlet, and its import costs each process a third
of a second and 10 MB, so it is blocked.

Ctrl-C ends a program during its imports without a traceback, also during the long one of oslo.service here.
"""

import sys

try:
    from oslo_service import backend

    sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]
    backend.init_backend(backend.BackendType.THREADING)
except KeyboardInterrupt:
    from snapmanage.cmd.process import output

    output.note("interrupted; nothing was started")
    raise SystemExit(130) from None
