"""One connection to a silo, with exceptions: the layer below ``kvcache.Cache``."""
from __future__ import annotations

import hmac
import json
import os
import socket
import struct
import threading
from contextlib import contextmanager
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

from .connection import Connection, ConnectionEnd
from .deadline import Deadline, Timeout
from .errors import KvCacheError
from .forks import renews_after_fork
from .hashing import Namespace
from .hints import Hint, field_of
from .namespace import Match, OpenNamespace, join
from .tls import Tls
from .wire import (AUTHENTICATE, GOES_ON, HELLO, MATCH, MAX_MATCHED_NAMESPACES, MAX_META, OLDEST_VERSION, OPEN, RELEASE, REPLY, STAT,
                   VERSION, Item, pack)


class Limits(NamedTuple):
    """What the server accepts on this connection."""
    max_meta: int
    max_blocks: int
    max_hold_ms: int


class Client:
    """One authenticated connection to a silo. Its calls may come from several threads and run one after another.

    ``timeout`` is the deadline of a whole call in seconds, for connecting and for calls that name none of their own.
    A call that fails between the frames of its request and its answer closes the connection, so that a late answer is
    never taken for that of another request. A closed client stays closed: every later call raises ``KvCacheError``.
    It does not reconnect, because opened namespaces and holds end with their connection; ``kvcache.Cache`` does.
    In a child of a fork the parent's clients are closed, and go on in the parent.
    """

    def __init__(self, endpoint: str, tenant: str = "default", secret: bytes = b"", timeout: Timeout = 30.0,
                 tls: Optional[Tls] = None):
        """``endpoint`` is ``tcp:host:port``, ``tls:host:port`` or ``unix:path``. Connecting and the proofs of both sides share the
        timeout."""
        self._timeout = timeout if isinstance(timeout, (int, float)) else 30.0
        self._lock = threading.Lock()
        self._closed: Optional[str] = None
        self.limits = Limits(MAX_META, 0, 0)
        deadline = Deadline.of(timeout, self._timeout)
        try:
            self._connection = Connection(endpoint, deadline, tls)
        except OSError as error:
            raise KvCacheError(f"no connection to {endpoint}: {error}") from error
        renews_after_fork(self)
        with self.call(deadline):
            self._authenticate(tenant.encode(), secret)

    @property
    def is_closed(self) -> bool:
        """Whether every further call would fail."""
        return self._closed is not None

    @property
    def is_leaving(self) -> bool:
        """Whether the silo has said that it is about to leave; it serves meanwhile."""
        return self._connection.is_leaving

    def open(self, namespace: Namespace, timeout: Timeout = None) -> OpenNamespace:
        """Opens a namespace of this client's tenant; it is valid as long as the connection."""
        encoding = namespace.encode()
        with self.call(timeout):
            handle, identity = struct.unpack("<I16s", self.request(OPEN, encoding))
            if identity != namespace.id:
                raise ConnectionError("the server names the namespace differently")
        return OpenNamespace(self, namespace, handle)

    def match(self, namespaces: Sequence[OpenNamespace], hashes: Sequence[bytes], hold_ms: int = 0,
              timeout: Timeout = None, hint: Optional[Hint] = None) -> Match:
        """How many blocks of a chain are stored in every one of the namespaces, as those of the ranks of one model.
        With ``hold_ms`` the blocks stay until the hold ends; see ``Match``."""
        handles = [namespace.handle for namespace in namespaces]
        if len(handles) > MAX_MATCHED_NAMESPACES:
            raise ValueError(f"a match takes {MAX_MATCHED_NAMESPACES} namespaces at most, and these are {len(handles)}")
        self.check_blocks(len(hashes), 12 + 4 * len(handles) + len(field_of(hint)))
        meta = pack(f"<II{len(handles)}II", hold_ms, len(handles), *handles, len(hashes)) + join(hashes)
        with self.call(timeout):
            match = Match(*struct.unpack("<IQI", self.request(MATCH, meta, field_of(hint))))
            if match.found > len(hashes):
                raise ConnectionError("the server found more blocks than were asked for")
            return match

    def most_blocks(self, fields: int) -> int:
        """How many blocks one request may name beside so many bytes of other fields."""
        return max(1, min(self.limits.max_blocks, (self.limits.max_meta - fields) // 32))

    def check_blocks(self, count: int, fields: int) -> None:
        """``ValueError`` when a request names more blocks than the silo takes; ``kvcache.Cache`` sends them in parts."""
        if count > self.most_blocks(fields):
            raise ValueError(f"{count} blocks are more than the {self.most_blocks(fields)} that this silo takes in one request")

    def release(self, hold_id: int, timeout: Timeout = None) -> bool:
        """Ends the hold of a match; False when it had ended already."""
        meta = pack("<Q", hold_id)
        with self.call(timeout):
            return self.number(RELEASE, meta) == 1

    def stat(self, timeout: Timeout = None) -> Dict[str, Any]:
        """What the tenant has on the silo, and has used of it."""
        with self.call(timeout):
            return json.loads(self.request(STAT, b""))

    def close(self) -> None:
        """Closes the connection, after the call that is running."""
        with self._lock:
            self._drop("it was closed by its user")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def call(self, timeout: Timeout) -> Iterator[Connection]:
        """One call: alone on the connection, under its deadline, and the end of the connection if it breaks."""
        deadline = Deadline.of(timeout, self._timeout)
        lock = self._lock  # another one after a fork inside of the call
        if not lock.acquire(timeout=deadline.remaining):
            raise KvCacheError("the deadline passed while another call used the connection")
        try:
            if self._closed is not None:
                raise KvCacheError(f"the connection is closed: {self._closed}")
            self._connection.deadline = deadline
            yield self._connection
        except KvCacheError as error:
            if error.status not in GOES_ON or isinstance(error, ConnectionEnd):
                self._drop(str(error))
            raise
        except (OSError, struct.error, ValueError) as error:
            passed = isinstance(error, socket.timeout)
            reason = "the deadline passed" if passed else f"the connection broke: {error}"
            self._drop(reason)
            raise KvCacheError(reason) from error
        except BaseException as error:
            # Whatever interrupts a call, as Ctrl+C does, leaves the stream at an unknown place.
            self._drop(f"a call was interrupted by {type(error).__name__}")
            raise
        finally:
            lock.release()

    def request(self, kind: int, meta: bytes, fields: bytes = b"") -> bytes:
        """A request that is answered by one frame without a payload; only inside ``call``."""
        return self._connection.receive(self._connection.send(kind, meta, fields=fields), kind | REPLY)[1]

    def number(self, kind: int, meta: bytes, fields: bytes = b"") -> int:
        """A request that is answered by one number; only inside ``call``."""
        return struct.unpack("<I", self.request(kind, meta, fields))[0]

    def items_done(self, kind: int, meta: bytes, blocks: int) -> int:
        """A request that is answered for each of some blocks: for how many it worked. Only inside ``call``."""
        return self.items(kind, meta, blocks).count(Item.DONE)

    def items(self, kind: int, meta: bytes, blocks: int) -> bytes:
        """A request that is answered for each of some blocks; only inside ``call``."""
        answer = self.request(kind, meta)
        if len(answer) != 4 + blocks or struct.unpack_from("<I", answer)[0] != blocks:
            raise ConnectionError("the server did not answer for each block")
        return answer[4:]

    def _authenticate(self, tenant: bytes, secret: bytes) -> None:
        nonce = os.urandom(32)
        hello = struct.pack("<HH32sH", OLDEST_VERSION, VERSION, nonce, len(tenant)) + tenant
        version, server_nonce = struct.unpack("<H32s", self.request(HELLO, hello))
        if not OLDEST_VERSION <= version <= VERSION:
            raise ConnectionError(f"the server chose version {version}, which was not offered")
        nonces = nonce + server_nonce + tenant
        proof = hmac.digest(secret, b"kvcache.client.v1" + nonces, "sha256")
        server_proof, *limits = struct.unpack("<32s3I", self.request(AUTHENTICATE, proof))
        if not hmac.compare_digest(server_proof, hmac.digest(secret, b"kvcache.server.v1" + nonces, "sha256")):
            raise ConnectionError("the server does not know the tenant's secret")
        self.limits = Limits(*limits)

    def after_fork(self) -> None:
        """In a child: the connection is the parent's."""
        self._lock = threading.Lock()
        self._drop("it belongs to the process that opened it, and this one was forked since")

    def _drop(self, reason: str) -> None:
        self._closed = self._closed or reason
        self._connection.close()
