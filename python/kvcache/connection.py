"""A socket that carries frames (docs/protocol.md, "Frames")."""
from __future__ import annotations

import os
import socket
import zlib
from typing import Any, Iterable, Optional, Tuple, Union

from .deadline import Deadline
from .errors import KvCacheError
from .tls import Tls
from .wire import ERROR, FIELD_UNIT, GET, HEADER, LEAVING, MAGIC, MAX_META, REPLY, read_fields

# Pieces this small are still in the processor's cache when their checksum is computed.
RECEIVE_PIECE = 256 << 10


class Connection:
    """Frames over one socket, under the deadline of the call that is running (``deadline``, set by the caller).

    It is of the process that opened it: a child of a fork, even one that Python was not told of, neither sends nor receives.
    """

    def __init__(self, endpoint: str, deadline: Deadline, tls: Optional[Tls] = None):
        self.deadline = deadline
        # Begins anywhere, so that an answer that was meant for another connection fits none of this one's questions.
        self._last_id = int.from_bytes(os.urandom(8), "little")
        self._process = os.getpid()
        #: The silo has said that it is about to leave.
        self.is_leaving = False
        self._socket = connect(endpoint, deadline, tls)

    def close(self) -> None:
        """Gives up this process's end. Where a fork has shared the socket, the other process goes on with it."""
        self._socket.close()

    def send(self, kind: int, meta: bytes, payload: Iterable[Any] = (), payload_length: int = 0, fields: bytes = b"") -> int:
        """Sends one frame, with tagged fields in front of its meta part if there are any, and returns its request id."""
        self._last_id = self._last_id % ((1 << 64) - 1) + 1  # 0 stands for the whole connection
        meta = fields + meta
        header = [MAGIC, kind, 0, len(fields) // FIELD_UNIT, self._last_id, len(meta), 0, payload_length]
        header[6] = zlib.crc32(meta, zlib.crc32(HEADER.pack(*header)))
        try:
            self._set_timeout()
            self._socket.sendall(HEADER.pack(*header) + meta)
            for piece in payload:
                self._set_timeout()
                self._socket.sendall(piece)
        except ConnectionError:
            # A server that ends the connection says why first; its sentence is worth more than "broken pipe".
            # Receiving while no type is expected raises in any case.
            self.receive(self._last_id)
        return self._last_id

    def receive(self, request_id: int, *kinds: int) -> Tuple[int, bytes, int, int]:
        """The next frame up to its payload: type, meta without tagged fields, status, payload length. Error frames are raised, as
        ``ConnectionEnd`` when they concern the whole connection."""
        header = self.read(HEADER.size)
        magic, kind, status, units, answered, meta_length, crc, payload_length = HEADER.unpack(header)
        if magic != MAGIC or units * FIELD_UNIT > meta_length or meta_length > MAX_META:
            raise ConnectionError("what arrived is no frame")
        meta = self.read(meta_length)
        if crc != zlib.crc32(meta, zlib.crc32(header[:20] + bytes(4) + header[24:])):
            raise ConnectionError("a frame arrived damaged")
        if units:
            self.is_leaving |= LEAVING in read_fields(meta[:units * FIELD_UNIT])
            meta = meta[units * FIELD_UNIT:]
        if kind == ERROR and answered in (0, request_id):
            # An error without a request concerns the connection, whatever its status, and no answer will follow.
            raise (KvCacheError if answered else ConnectionEnd)(_sentence(meta), status)
        if answered != request_id or kind not in kinds or (payload_length and kind != GET | REPLY):
            raise ConnectionError(f"a frame of type {kind:#x} arrived that no request waits for")
        return kind, meta, status, payload_length

    def read(self, count: int) -> bytes:
        data = bytearray(count)
        self.read_into(memoryview(data))
        return bytes(data)

    def read_into(self, view: memoryview, crc: int = 0) -> int:
        """Fills the view and returns the CRC-32 of its bytes, continued from ``crc``."""
        done = 0
        while done < len(view):
            self._set_timeout()
            count = self._socket.recv_into(view[done:done + RECEIVE_PIECE])
            if count == 0:
                raise ConnectionError("the server closed it")
            crc = zlib.crc32(view[done:done + count], crc)
            done += count
        return crc

    def _set_timeout(self) -> None:
        if os.getpid() != self._process:
            raise ConnectionError("it belongs to the process that opened it, and this one was forked since")
        remaining = self.deadline.remaining
        if remaining <= 0:
            raise socket.timeout("timed out")
        self._socket.settimeout(remaining)


def _sentence(meta: bytes) -> str:
    """What an error frame says, fit for a log whoever sent it."""
    return "".join(character if character.isprintable() else "?" for character in meta[2:502].decode(errors="replace"))


class ConnectionEnd(KvCacheError):
    """The server ended the connection, and said why."""


def parse_endpoint(endpoint: str) -> Union[str, Tuple[str, int]]:
    """The path of ``unix:path``, or host and port of ``tcp:host:port`` and ``tls:host:port``; ``ValueError`` for anything else."""
    kind, _, address = endpoint.partition(":") if isinstance(endpoint, str) else ("", "", "")
    if kind == "unix" and address:
        return address
    host, _, port = address.rpartition(":")
    if (kind not in ("tcp", "tls") or not host or any(c in host for c in ", /") or not (port.isascii() and port.isdigit())
            or not 0 < int(port) <= 65535):
        raise ValueError(f"{endpoint!r} is neither tcp:host:port nor tls:host:port nor unix:path")
    return host.strip("[]"), int(port)


def connect(endpoint: str, deadline: Deadline, tls: Optional[Tls] = None) -> socket.socket:
    """A connected socket to ``tcp:host:port``, ``tls:host:port`` or ``unix:path``."""
    address = parse_endpoint(endpoint)
    timeout = deadline.remaining
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        return connection
    connection = socket.create_connection(address, timeout)
    # Requests are small and each waits for its answer.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not endpoint.startswith("tls:"):
        return connection
    try:
        connection.settimeout(max(deadline.remaining, 0.001))
        return (tls or Tls()).wrap(connection, address[0])
    except BaseException:
        connection.close()
        raise
