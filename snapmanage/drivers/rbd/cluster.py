"""A connection to a Ceph cluster that several threads share, and the translation of the cluster's errors.

The cluster's own timeouts are set on each connection; a hanging monitor ignores `connect(timeout=)`. They don't cover
every call: the lookup of a pool waits for a hanging monitor without limit, so it has a deadline of its own.
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
from snapmanage.drivers.system.deadline import BoundedCalls, within

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
# The cluster has blocklisted this client, or the connection is lost for good; a new connection may work.
_BROKEN = (errno.ESHUTDOWN, errno.ENOTCONN)
_REMEDIES = {errno.EROFS: "; promote a mirror that isn't primary, or finish a migration (rbd status)"}


def is_broken(failure: BaseException | None) -> bool:
    """Return whether the error means that the connection is unusable from now on."""
    return getattr(failure and failure.__cause__, "errno", None) in _BROKEN


@dataclass(frozen=True)
class Settings:
    """The cluster, its user, and the pool and namespace in it; `bindings` is the folder of the Python modules."""

    pool: str
    namespace: str
    user: str
    conf: str
    timeout_seconds: float
    bindings: str


class Cluster:
    """A connection that is made when it is first needed, and made again after it broke."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.calls = BoundedCalls()
        self._lock = threading.Lock()
        self._shared: _SharedConnection | None = None

    @property
    def bindings(self) -> ceph_bindings.Bindings:
        return ceph_bindings.load(self._settings.bindings)

    def close(self) -> None:
        """Disconnect when no thread uses the connection any longer; the next use connects again."""
        with self._lock:
            shared, self._shared = self._shared, None
        if shared and shared.users == 0:
            self._disconnect(shared)

    @contextmanager
    def pool(self) -> Iterator[Any]:
        """Yield an open `rados.Ioctx` for the pool and the namespace.

        Raise `ConfigurationError`, `BackendPermission` or `BackendUnavailable`. Errors of the bindings inside the
        block become snapmanage's errors.
        """
        shared = self._acquire()
        try:
            with self.translate_errors(f"pool {self._settings.pool!r}"), self._open_pool(shared.handle) as ioctx:
                yield ioctx
        except errors.BackendUnavailable as failure:
            self._release(shared, is_broken(failure))
            raise
        except BaseException:
            self._release(shared)
            raise
        self._release(shared)

    def storage_id(self) -> str:
        """Return the ids of the cluster and the pool, and the namespace, as one text."""
        with self.pool() as ioctx:
            shared = self._acquire()
            try:
                cluster = self._within("reading the cluster's id", shared.handle.get_fsid)
            finally:
                self._release(shared)
            return f"rbd:{cluster}/{ioctx.get_pool_id()}/{self._settings.namespace}"

    def verify(self, ioctx: Any) -> None:
        """Raise `BackendUnavailable` where the pool or the namespace doesn't exist.

        The list of images doesn't show this: it is empty for a missing pool or namespace too.
        """
        shared = self._acquire()
        try:
            self._within("waiting for the newest map of the cluster", shared.handle.wait_for_latest_osdmap)
            with self._open_pool(shared.handle):
                pass
            namespace = self._settings.namespace
            if namespace and not self.bindings.rbd.RBD().namespace_exists(ioctx, namespace):
                raise errors.BackendUnavailable(
                    f"pool {self._settings.pool!r} has no namespace {namespace!r}: create it, or change rbd_namespace"
                )
        finally:
            self._release(shared)

    @contextmanager
    def translate_errors(self, subject: str) -> Iterator[None]:
        """Raise errors of the bindings as snapmanage's errors, which name the `subject`."""
        try:
            yield
        except (self.bindings.rados.Error, self.bindings.rbd.Error) as failure:
            raise self.error(subject, failure) from failure

    def error(self, subject: str, failure: Exception) -> errors.SnapmanageError:
        """Return snapmanage's error for an error of the bindings."""
        number = getattr(failure, "errno", 0)
        kind = _KINDS.get(number, errors.BackendError)
        remedy = _REMEDIES.get(number, "")
        if kind is errors.BackendPermission:
            remedy = f"; give client.{self._settings.user} the profile rbd, for pool {self._settings.pool!r}"
        return kind(f"the Ceph cluster reports an error for {subject}: {failure}{remedy}")

    def _acquire(self) -> "_SharedConnection":
        # While one thread connects, the others wait for it together: each alone would add its own timeout.
        if not self._lock.acquire(timeout=self._settings.timeout_seconds + 1):
            raise errors.BackendUnavailable(
                "the connection to the Ceph cluster timed out; check its monitors (ceph -s)"
            )
        try:
            if self._shared is None:
                self._shared = _SharedConnection(self._within("connecting to the Ceph cluster", self._connect))
            self._shared.users += 1
            return self._shared
        finally:
            self._lock.release()

    def _release(self, shared: "_SharedConnection", broken: bool = False) -> None:
        """Stop using a connection; the last user of a broken one closes it."""
        with self._lock:
            shared.users -= 1
            if broken and self._shared is shared:
                self._shared = None
            unused = self._shared is not shared and shared.users == 0
        if unused:
            self._disconnect(shared)

    def _disconnect(self, shared: "_SharedConnection") -> None:
        # Also while many calls hang: otherwise the connection would stay open.
        within(self._settings.timeout_seconds + 1, "disconnecting from the Ceph cluster", shared.handle.shutdown)

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
            raise self._connection_error(failure) from failure
        return handle

    def _connection_error(self, failure: Any) -> errors.SnapmanageError:
        if failure.errno in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EINVAL):
            return errors.BackendPermission(
                f"the Ceph cluster rejects client.{self._settings.user} ({failure}): set rbd_user to a user of the "
                "cluster, and let snapmanage read its keyring"
            )
        return errors.BackendUnavailable(f"the Ceph cluster doesn't answer: {failure}; check its monitors (ceph -s)")

    @contextmanager
    def _open_pool(self, handle: Any) -> Iterator[Any]:
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
        return self.calls.within(self._settings.timeout_seconds + 1, doing, call)


@dataclass
class _SharedConnection:
    """A connection, and the number of its current users."""

    handle: Any
    users: int = 0
