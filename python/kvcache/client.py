"""Client of the data plane (docs/protocol.md)."""
from __future__ import annotations

import hmac
import json
import os
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from .hashing import Namespace

VERSION = 1
MAGIC = 0x3143564B
MAX_META = 1 << 20
HEADER = struct.Struct("<IBBHQIIQ")
# Pieces this small are still in the processor's cache when their checksum is computed.
RECEIVE_PIECE = 256 << 10

HELLO, AUTHENTICATE, OPEN, MATCH, GET, PUT, PIN, DELETE, RELEASE, STAT, VERIFY = range(1, 12)
REPLY, GET_END, ERROR = 0x80, 0xA5, 0xFF


class Status(IntEnum):
    """What an error frame is about."""
    OK = 0
    MISS = 1
    NO_COMMON_VERSION = 16
    NOT_AUTHENTICATED = 17
    BAD_FRAME = 18
    WRONG_TENANT = 19
    UNKNOWN_NAMESPACE = 20
    OUT_OF_BOUNDS = 21
    LIMIT_REACHED = 22
    STOPPING = 23
    FAILED = 24


_GOES_ON = (Status.WRONG_TENANT, Status.UNKNOWN_NAMESPACE, Status.OUT_OF_BOUNDS, Status.LIMIT_REACHED)


class Outcome(IntEnum):
    """What became of one block of a put."""
    STORED = 0
    ALREADY_STORED = 1
    BEING_WRITTEN = 2
    NO_MEMORY = 3
    CORRUPT = 4
    REVOKED = 5
    TOO_LARGE = 6
    FAILED = 7


class KvCacheError(Exception):
    """A call failed. ``status`` is the server's (a ``Status``, or a number that this client does not know); it is
    ``None`` when the connection failed instead: a deadline passed, the stream broke, or it made no sense."""

    def __init__(self, message: str, status: Optional[int] = None):
        super().__init__(message)
        self.status = Status(status) if status in tuple(Status) else status


class Match(NamedTuple):
    """Answer of a match: the first ``found`` blocks are stored. ``hold_id`` is 0 when nothing is held."""
    found: int
    hold_id: int
    hold_ms: int


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
    It does not reconnect, because opened namespaces and holds end with their connection; make a new ``Client``.
    """

    def __init__(self, endpoint: str, tenant: str = "default", secret: bytes = b"", timeout: float = 30.0):
        """``endpoint`` is ``tcp:host:port`` or ``unix:path``."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed: Optional[str] = None
        self._last_id = 0
        self._deadline = 0.0
        self.limits = Limits(MAX_META, 0, 0)
        try:
            self._socket = _connect(endpoint, timeout)
        except OSError as error:
            raise KvCacheError(f"no connection to {endpoint}: {error}") from error
        with self._call(None):
            self._authenticate(tenant.encode(), secret)

    def open(self, namespace: Namespace, timeout: Optional[float] = None) -> OpenNamespace:
        """Opens a namespace of this client's tenant; it is valid as long as the connection."""
        encoding = namespace.encode()
        with self._call(timeout):
            handle, identity = struct.unpack("<I16s", self._request(OPEN, encoding))
            if identity != namespace.id:
                raise ConnectionError("the server names the namespace differently")
        return OpenNamespace(self, namespace, handle)

    def release(self, hold_id: int, timeout: Optional[float] = None) -> bool:
        """Ends the hold of a match; False when it had ended already."""
        meta = struct.pack("<Q", hold_id)
        with self._call(timeout):
            return self._number(RELEASE, meta) == 1

    def stat(self, timeout: Optional[float] = None) -> Dict[str, Any]:
        """The silo's counters."""
        with self._call(timeout):
            return json.loads(self._request(STAT, b""))

    def close(self) -> None:
        """Closes the connection, after the call that is running."""
        with self._lock:
            self._drop("it was closed by its user")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _authenticate(self, tenant: bytes, secret: bytes) -> None:
        nonce = os.urandom(32)
        hello = struct.pack("<HH32sH", VERSION, VERSION, nonce, len(tenant)) + tenant
        version, server_nonce = struct.unpack("<H32s", self._request(HELLO, hello))
        if version != VERSION:
            raise ConnectionError(f"the server chose version {version}, which was not offered")
        nonces = nonce + server_nonce + tenant
        proof = hmac.digest(secret, b"kvcache.client.v1" + nonces, "sha256")
        server_proof, *limits = struct.unpack("<32s3I", self._request(AUTHENTICATE, proof))
        if not hmac.compare_digest(server_proof, hmac.digest(secret, b"kvcache.server.v1" + nonces, "sha256")):
            raise ConnectionError("the server does not know the tenant's secret")
        self.limits = Limits(*limits)

    @contextmanager
    def _call(self, timeout: Optional[float]) -> Iterator[None]:
        """One call: alone on the connection, under its deadline, and the end of the connection if it breaks."""
        timeout = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise KvCacheError("the deadline passed while another call used the connection")
        try:
            if self._closed is not None:
                raise KvCacheError(f"the connection is closed: {self._closed}")
            self._deadline = deadline
            yield
        except KvCacheError as error:
            if error.status not in _GOES_ON:
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
            self._lock.release()

    def _drop(self, reason: str) -> None:
        self._closed = self._closed or reason
        self._socket.close()

    def _request(self, kind: int, meta: bytes) -> bytes:
        """A request that is answered by one frame without a payload."""
        return self._receive(self._send(kind, meta), kind | REPLY)[1]

    def _number(self, kind: int, meta: bytes) -> int:
        return struct.unpack("<I", self._request(kind, meta))[0]

    def _send(self, kind: int, meta: bytes, payload: Iterable[Any] = (), payload_length: int = 0) -> int:
        """Sends one frame and returns its request id."""
        self._last_id += 1
        fields = [MAGIC, kind, 0, 0, self._last_id, len(meta), 0, payload_length]
        fields[6] = zlib.crc32(meta, zlib.crc32(HEADER.pack(*fields)))
        try:
            self._set_timeout()
            self._socket.sendall(HEADER.pack(*fields) + meta)
            for piece in payload:
                self._set_timeout()
                self._socket.sendall(piece)
        except ConnectionError:
            # A server that ends the connection says why first; its sentence is worth more than "broken pipe".
            # Receiving while no type is expected raises in any case.
            self._receive(self._last_id)
        return self._last_id

    def _receive(self, request_id: int, *kinds: int) -> Tuple[int, bytes, int, int]:
        """The next frame up to its payload: type, meta, status, payload length. Error frames are raised."""
        header = self._read(HEADER.size)
        magic, kind, status, zero, answered, meta_length, crc, payload_length = HEADER.unpack(header)
        if magic != MAGIC or zero or meta_length > MAX_META:
            raise ConnectionError("what arrived is no frame")
        meta = self._read(meta_length)
        if crc != zlib.crc32(meta, zlib.crc32(header[:20] + bytes(4) + header[24:])):
            raise ConnectionError("a frame arrived damaged")
        if kind == ERROR and answered in (0, request_id):
            error = KvCacheError(meta[2:].decode(), status)
            if answered == 0:
                # It concerns the connection, whatever its status, and no answer will follow.
                self._drop(str(error))
            raise error
        if answered != request_id or kind not in kinds or (payload_length and kind != GET | REPLY):
            raise ConnectionError(f"a frame of type {kind:#x} arrived that no request waits for")
        return kind, meta, status, payload_length

    def _read(self, count: int) -> bytes:
        data = bytearray(count)
        self._read_into(memoryview(data))
        return bytes(data)

    def _read_into(self, view: memoryview) -> int:
        """Fills the view and returns the CRC-32 of its bytes."""
        crc = done = 0
        while done < len(view):
            self._set_timeout()
            count = self._socket.recv_into(view[done:done + RECEIVE_PIECE])
            if count == 0:
                raise ConnectionError("the server closed it")
            crc = zlib.crc32(view[done:done + count], crc)
            done += count
        return crc

    def _set_timeout(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        self._socket.settimeout(remaining)


@dataclass(frozen=True)
class OpenNamespace:
    """A namespace that is open on a connection. Hashes are those of ``kvcache.hashing``, of 32 bytes each."""
    client: Client
    namespace: Namespace
    handle: int

    def match(self, hashes: Sequence[bytes], hold_ms: int = 0, timeout: Optional[float] = None) -> Match:
        """How many blocks of a chain are stored. With ``hold_ms`` they stay until the hold ends; see ``Match``."""
        meta = struct.pack("<III", self.handle, hold_ms, len(hashes)) + _join(hashes)
        with self.client._call(timeout):
            return Match(*struct.unpack("<IQI", self.client._request(MATCH, meta)))

    def get_into(self, hashes: Sequence[bytes], buffer: Any, offset: int = 0, first_layer: int = 0,
                 layers: Optional[int] = None, past_misses: bool = False,
                 timeout: Optional[float] = None) -> List[bool]:
        """Reads blocks straight into a writable buffer: block i at ``offset + i * size``, where size is that of the
        requested layers. Returns which blocks are there. The bytes of those that are not are undefined.

        Without ``past_misses`` the silo stops at the first block that is not stored. A block that arrives damaged is
        reported to the silo and counts as not there, so a hit may follow it in either case.
        """
        ends = (0,) + self.namespace.layout.layer_ends
        last = len(ends) - 1 if layers is None else first_layer + layers
        if not 0 <= first_layer < last < len(ends):
            raise ValueError("the layout has no such layers")
        bounds = [end - ends[first_layer] for end in ends[first_layer:last + 1]]
        target = memoryview(buffer).cast("B")
        if target.readonly or not 0 <= offset <= len(target) - bounds[-1] * len(hashes):
            raise ValueError("the buffer is read-only or too small")
        meta = struct.pack("<IBIII", self.handle, past_misses, first_layer, last - first_layer, len(hashes))
        meta += _join(hashes)
        with self.client._call(timeout):
            generations = self._receive_blocks(self.client._send(GET, meta), target[offset:], bounds, len(hashes))
            for index, (generation, intact) in generations.items():
                if not intact:
                    damaged = struct.pack("<I32sQ", self.handle, hashes[index], generation)
                    self.client._number(VERIFY, damaged)
        return [index in generations and generations[index][1] for index in range(len(hashes))]

    def _receive_blocks(self, request_id: int, target: memoryview, bounds: Sequence[int],
                        count: int) -> Dict[int, Tuple[int, bool]]:
        """The answer of a get: generation of every block that arrived, and whether it arrived intact."""
        size = bounds[-1]
        arrived: Dict[int, Tuple[int, bool]] = {}
        expected = 0
        while True:
            kind, meta, status, length = self.client._receive(request_id, GET | REPLY, GET_END)
            if kind == GET_END:
                if struct.unpack("<I", meta)[0] != len(arrived):
                    raise ConnectionError("the server counts other blocks than arrived")
                return arrived
            index = struct.unpack_from("<I", meta)[0]
            if index != expected or index >= count or length != (0 if status == Status.MISS else size):
                raise ConnectionError("the server sent another block than the next one")
            expected += 1
            if status == Status.MISS:
                continue
            generation, *checksums = struct.unpack(f"<Q{len(bounds) - 1}I", meta[4:])
            block = target[index * size:(index + 1) * size]
            received = [self.client._read_into(block[start:end]) for start, end in zip(bounds, bounds[1:])]
            arrived[index] = generation, received == checksums

    def put(self, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None,
            depth: int = 0, ttl_seconds: int = 0, request_id: int = 0, new_tokens: int = 0,
            timeout: Optional[float] = None) -> List[Outcome]:
        """Stores blocks from buffers and returns what became of each.

        ``previous`` is the hash of the block before the first one, if there is one, and ``depth`` the index of the
        first block in its chain, from 0. ``ttl_seconds`` of 0 keeps blocks for as long as memory lasts. ``request_id``
        is that of the engine's request which computed them, and ``new_tokens`` how many tokens it appended behind what
        was cached; 0 when unknown.
        """
        bounds = (0,) + self.namespace.layout.layer_ends
        views = [memoryview(block).cast("B") for block in blocks]
        if len(views) != len(hashes) or any(len(view) != bounds[-1] for view in views):
            raise ValueError(f"every hash needs a block of {bounds[-1]} bytes")
        meta = struct.pack("<II32sIQII", self.handle, ttl_seconds, _join([previous or bytes(32)]), depth, request_id,
                           new_tokens, len(hashes)) + _join(hashes)

        def payload() -> Iterator[Union[bytes, memoryview]]:
            for view in views:
                yield view
                yield b"".join(struct.pack("<I", zlib.crc32(view[start:end]))
                               for start, end in zip(bounds, bounds[1:]))

        with self.client._call(timeout):
            length = len(views) * (bounds[-1] + 4 * (len(bounds) - 1))
            sent = self.client._send(PUT, meta, payload(), length)
            reply = self.client._receive(sent, PUT | REPLY)[1]
            if struct.unpack_from("<I", reply)[0] != len(hashes) or len(reply) != 4 + len(hashes):
                raise ConnectionError("the server answers for other blocks than were put")
            return [Outcome(outcome) for outcome in reply[4:]]

    def pin(self, hashes: Sequence[bytes], seconds: int, timeout: Optional[float] = None) -> int:
        """Keeps blocks for a time, 0 to end that. Returns for how many it worked."""
        meta = struct.pack("<III", self.handle, seconds, len(hashes)) + _join(hashes)
        with self.client._call(timeout):
            return self.client._number(PIN, meta)

    def delete(self, hashes: Sequence[bytes], timeout: Optional[float] = None) -> int:
        """Forgets blocks. Returns how many there were."""
        meta = struct.pack("<II", self.handle, len(hashes)) + _join(hashes)
        with self.client._call(timeout):
            return self.client._number(DELETE, meta)


def _join(hashes: Sequence[bytes]) -> bytes:
    if any(len(block_hash) != 32 for block_hash in hashes):
        raise ValueError("a hash has 32 bytes")
    return b"".join(hashes)


def _connect(endpoint: str, timeout: float) -> socket.socket:
    kind, _, address = endpoint.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    if kind != "tcp" or not host or not port.isdigit():
        raise ValueError(f"{endpoint!r} is neither tcp:host:port nor unix:path")
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout)
    # Requests are small and each waits for its answer.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
