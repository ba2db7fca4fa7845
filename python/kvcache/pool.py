"""Connections to one silo, opened when needed and kept."""
from __future__ import annotations

import threading
import time
from typing import Callable, Dict, List, Optional, Tuple, TypeVar

from .breaker import Breaker
from .client import Client
from .connection import ConnectionEnd, parse_endpoint
from .deadline import Deadline
from .errors import KvCacheError
from .forks import renews_after_fork
from .hashing import Namespace
from .namespace import OpenNamespace
from .options import CacheOptions
from .wire import GOES_ON

T = TypeVar("T")

# A silo limits the namespaces of a connection (1024 by default); one that has opened this many makes place for a new one.
MAX_NAMESPACES = 512

# So long a silo that said that it is about to leave is asked after the others.
LEAVING_SECONDS = 5.0


class Session:
    """A connection and the namespaces that are open on it."""

    def __init__(self, endpoint: str, options: CacheOptions, deadline: Deadline):
        self.client = Client(endpoint, options.tenant, options.secret_of_now(), deadline.at_most(options.connect_timeout), options.tls)
        self._open: Dict[bytes, OpenNamespace] = {}

    def open(self, namespace: Namespace, deadline: Deadline) -> OpenNamespace:
        """The namespace on this connection; asks the silo the first time only."""
        known = self._open.get(namespace.id)
        if known is None:
            known = self._open[namespace.id] = self.client.open(namespace, deadline)
        return known

    @property
    def is_usable(self) -> bool:
        return not self.client.is_closed and len(self._open) <= MAX_NAMESPACES


class SiloPool:
    """At most ``size`` connections to one endpoint. Every call runs on one of its own.

    A connection that was open before may have died since, as all do when the silo restarts: then the call runs once
    more on a new one, where its namespaces are opened again.
    """

    def __init__(self, endpoint: str, size: int, options: CacheOptions, breaker: Breaker):
        self.endpoint = endpoint
        self._size, self._options, self._breaker = size, options, breaker
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: List[Session] = []
        self._closed = False
        self._leaving_until = 0.0
        renews_after_fork(self)

    def run(self, operation: Callable[[Session, Deadline], T], deadline: Deadline) -> T:
        """Runs an operation that may be repeated. Raises ``KvCacheError`` when the silo could not do it in time."""
        if self._closed:
            raise KvCacheError("the cache is closed")
        if not self._breaker.allows():
            raise KvCacheError(f"{self.endpoint} is left alone after failures")
        free = self._free  # another one after a fork inside of the call
        if not free.acquire(timeout=deadline.remaining):
            raise KvCacheError(f"the deadline passed while all connections to {self.endpoint} were busy")
        try:
            result = self._run(operation, deadline)
        except KvCacheError as error:
            if error.status in GOES_ON and not isinstance(error, ConnectionEnd):
                self._breaker.succeeded()
            elif not deadline.is_cancelled:
                self._breaker.failed(str(error))
            raise
        else:
            self._breaker.succeeded()
            return result
        finally:
            free.release()

    @property
    def is_leaving(self) -> bool:
        """Whether the silo has said lately that it is about to leave; it may come back at the same address."""
        return time.monotonic() < self._leaving_until

    def close(self) -> None:
        """Closes what is idle; connections in use close when their call ends."""
        self._closed = True
        self._discard_idle()

    def after_fork(self) -> None:
        """In a child: the connections are the parent's, and all places are free."""
        self._free, self._lock = threading.Semaphore(self._size), threading.Lock()
        self._idle = []

    def _run(self, operation: Callable[[Session, Deadline], T], deadline: Deadline) -> T:
        session, is_new = self._take(deadline)
        try:
            return operation(session, deadline)
        except KvCacheError as error:
            if is_new or deadline.passed or not session.client.is_closed or error.status is not None:
                raise
            # The others were opened before the same restart.
            self._discard_idle()
            session = Session(self.endpoint, self._options, deadline)
            return operation(session, deadline)
        except BaseException:
            # What interrupted the call knows nothing of the state of the stream.
            session.client.close()
            raise
        finally:
            self._give_back(session)

    def _take(self, deadline: Deadline) -> Tuple[Session, bool]:
        with self._lock:
            while self._idle:
                session = self._idle.pop()
                if session.is_usable:
                    return session, False
                session.client.close()
        return Session(self.endpoint, self._options, deadline), True

    def _give_back(self, session: Session) -> None:
        if session.client.is_leaving:
            self._leaving_until = time.monotonic() + LEAVING_SECONDS
        # One that opened many namespaces is given up when it is used next, not now: what it was used for may hold blocks.
        if not session.client.is_closed and not self._closed:
            with self._lock:
                self._idle.append(session)
        else:
            session.client.close()

    def _discard_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.client.close()


class SiloClient:
    """One silo as a cache sees it: small requests do not wait behind large ones, and both share one circuit breaker."""

    def __init__(self, endpoint: str, options: CacheOptions):
        self.endpoint = endpoint
        self.breaker = Breaker(endpoint, options.breaker_failures, options.breaker_delay)
        self.control = SiloPool(endpoint, options.control_connections, options, self.breaker)
        self.data = SiloPool(endpoint, options.connections, options, self.breaker)

    @property
    def is_leaving(self) -> bool:
        return self.control.is_leaving or self.data.is_leaving

    def close(self) -> None:
        self.control.close()
        self.data.close()


def usable_address(addresses: Tuple[str, ...]) -> Optional[str]:
    """The address under which a silo that another one named is reached. A Unix path is of that silo's machine, where
    the same path may be another silo's here."""
    for address in addresses:
        try:
            if not isinstance(parse_endpoint(address), str):
                return address
        except ValueError:
            pass
    return None
