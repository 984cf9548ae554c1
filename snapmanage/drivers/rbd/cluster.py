"""A connection to a Ceph cluster that several threads share, and what the cluster's errors mean.

The cluster's own time-outs are set on each connection; `connect(timeout=)` wouldn't be heeded by a monitor
that hangs. They don't cover everything: looking up a pool waits for a hanging monitor for ever, so that
this has a deadline of its own.
"""

import errno
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from snapmanage import errors
from snapmanage.drivers.system import ceph_bindings
from snapmanage.drivers.system.deadline import within

_KINDS: Mapping[int, type[errors.SnapmanageError]] = {
    errno.ENOENT: errors.SourceNotFound,
    errno.EEXIST: errors.NameTaken,
    errno.ENAMETOOLONG: errors.InvalidReference,
    errno.EBUSY: errors.BackendBusy,
    errno.EPERM: errors.BackendPermission,
    errno.EACCES: errors.BackendPermission,
    errno.EROFS: errors.Unusable,
    errno.EOPNOTSUPP: errors.Unusable,
    errno.ETIMEDOUT: errors.BackendUnavailable,
    errno.ENOTCONN: errors.BackendUnavailable,
    errno.ESHUTDOWN: errors.BackendUnavailable,
}
# The cluster has shut this client out, or the connection is gone for good; a new one may do.
_BROKEN = (errno.ESHUTDOWN, errno.ENOTCONN)
_REMEDIES = {errno.EROFS: "; promote a mirror that isn't primary, or finish a migration (rbd status)"}


def broken(failure: BaseException | None) -> bool:
    """Whether an error says that the connection is of no more use."""
    return getattr(failure and failure.__cause__, "errno", None) in _BROKEN


@dataclass(frozen=True)
class Settings:
    """Where the cluster is, and as whom to use which part of it."""

    pool: str
    namespace: str
    user: str
    conf: str
    timeout_seconds: float
    bindings: str


class Cluster:
    """A connection that is made when it is first needed, and anew after it broke."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._shared: _Shared | None = None

    @property
    def bindings(self) -> ceph_bindings.Bindings:
        return ceph_bindings.load(self._settings.bindings)

    @contextmanager
    def pool(self) -> Iterator[Any]:
        """An open `rados.Ioctx` for the pool and the namespace.

        `ConfigurationError`, `BackendPermission`, `BackendUnavailable`; what the bindings raise inside
        of it becomes an error of snapmanage's.
        """
        shared = self._joined()
        try:
            with self.explained(f"pool {self._settings.pool!r}"), self._opened(shared.handle) as ioctx:
                yield ioctx
        except errors.BackendUnavailable as failure:
            self._leave(shared, broken(failure))
            raise
        except BaseException:
            self._leave(shared)
            raise
        self._leave(shared)

    def storage_id(self) -> str:
        """Return which namespace of which pool of which cluster this is."""
        with self.pool() as ioctx:
            shared = self._joined()
            try:
                cluster = self._within("asking for the cluster's id", shared.handle.get_fsid)
            finally:
                self._leave(shared)
            return f"rbd:{cluster}/{ioctx.get_pool_id()}/{self._settings.namespace}"

    def verify(self, ioctx: Any) -> None:
        """Raise `BackendUnavailable` where the pool or the namespace isn't there: an empty list doesn't tell."""
        shared = self._joined()
        try:
            self._within("asking for the newest map of the cluster", shared.handle.wait_for_latest_osdmap)
            with self._opened(shared.handle):
                pass
            namespace = self._settings.namespace
            if namespace and not self.bindings.rbd.RBD().namespace_exists(ioctx, namespace):
                raise errors.BackendUnavailable(
                    f"pool {self._settings.pool!r} has no namespace {namespace!r}: create it, or change rbd_namespace"
                )
        finally:
            self._leave(shared)

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turn what the bindings raise at `what` into an error of snapmanage's."""
        try:
            yield
        except (self.bindings.rados.Error, self.bindings.rbd.Error) as failure:
            raise self.error(what, failure) from failure

    def error(self, what: str, failure: Exception) -> errors.SnapmanageError:
        """Return the error of snapmanage's for what the bindings raised at `what`."""
        number = getattr(failure, "errno", 0)
        kind = _KINDS.get(number, errors.BackendError)
        remedy = _REMEDIES.get(number, "")
        if kind is errors.BackendPermission:
            remedy = f"; give client.{self._settings.user} the profile rbd, for pool {self._settings.pool!r}"
        return kind(f"the Ceph cluster refuses at {what}: {failure}{remedy}")

    def _joined(self) -> "_Shared":
        # Whoever waits here for somebody else's connecting mustn't wait for one after the other.
        if not self._lock.acquire(timeout=self._settings.timeout_seconds + 1):
            raise errors.BackendUnavailable("connecting to the Ceph cluster takes too long")
        try:
            if self._shared is None:
                self._shared = _Shared(self._within("connecting to the Ceph cluster", self._connect))
            self._shared.users += 1
            return self._shared
        finally:
            self._lock.release()

    def _leave(self, shared: "_Shared", broken: bool = False) -> None:
        """Stop using a connection; the last one who leaves a broken one ends it."""
        with self._lock:
            shared.users -= 1
            if broken and self._shared is shared:
                self._shared = None
            abandoned = self._shared is not shared and shared.users == 0
        if abandoned:
            self._within("leaving the Ceph cluster", shared.handle.shutdown)

    def _connect(self) -> Any:
        settings, rados = self._settings, self.bindings.rados
        timeout = str(math.ceil(settings.timeout_seconds))
        limits = (
            "client_mount_timeout",
            "rados_mon_op_timeout",
            "rados_osd_op_timeout",
            "rbd_request_timed_out_seconds",
        )
        try:
            handle = rados.Rados(conffile=settings.conf, rados_id=settings.user, conf=dict.fromkeys(limits, timeout))
        except rados.Error as failure:
            raise errors.ConfigurationError(
                f"rbd_ceph_conf {settings.conf!r} can't be read: {failure}; set it to the cluster's ceph.conf"
            ) from failure
        try:
            handle.connect()
        except rados.Error as failure:
            handle.shutdown()
            raise self._unconnected(failure) from failure
        return handle

    def _unconnected(self, failure: Any) -> errors.SnapmanageError:
        if failure.errno in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EINVAL):
            return errors.BackendPermission(
                f"the Ceph cluster doesn't let in client.{self._settings.user} ({failure}): see that rbd_user is the "
                "name of a user of the cluster and that snapmanage may read its keyring"
            )
        return errors.BackendUnavailable(f"the Ceph cluster doesn't answer: {failure}")

    @contextmanager
    def _opened(self, handle: Any) -> Iterator[Any]:
        pool = self._settings.pool
        try:
            ioctx = self._within(f"looking up pool {pool!r}", partial(handle.open_ioctx, pool))
        except self.bindings.rados.ObjectNotFound as failure:
            raise errors.BackendUnavailable(
                f"the Ceph cluster has no pool {pool!r}: create it, or change rbd_pool"
            ) from failure
        try:
            ioctx.set_namespace(self._settings.namespace)
            yield ioctx
        finally:
            ioctx.close()

    def _within(self, doing: str, call: Any) -> Any:
        return within(self._settings.timeout_seconds + 1, doing, call)


@dataclass
class _Shared:
    """A connection, and how many use it at the moment."""

    handle: Any
    users: int = 0
