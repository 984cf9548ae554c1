"""The mains: the only place that reads configuration and puts the parts together.

They run on threads. oslo.service, which oslo.messaging brings along, wants to be told so before
anything else, and what it installs beside itself is kept from being imported: it is never used here,
and costs every process a third of a second and 10 MB.
"""

import sys

from oslo_service import backend

sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]
backend.init_backend(backend.BackendType.THREADING)
