"""A silo in this process, written from docs/protocol.md: for faults that a real one does not have at will."""
import hmac
import os
import socket
import struct
import threading
import zlib
from hashlib import sha256
from typing import Callable, Dict, List, Optional, Sequence, Tuple

HEADER = struct.Struct("<IBBHQIIQ")
MAGIC = 0x3143564B
HELLO, AUTHENTICATE, OPEN, MATCH, GET, PUT, PIN, DELETE, RELEASE, STAT, VERIFY, LOCATE = range(1, 13)
EXPIRE, CLEAR, HINT = 20, 21, 22
STORED, ALREADY_STORED, NO_MEMORY = 0, 1, 3


def frame(kind: int, meta: bytes = b"", payload: bytes = b"", request_id: int = 1, status: int = 0, fields: bytes = b"") -> bytes:
    meta = fields + meta
    head = struct.pack("<IBBHQI", MAGIC, kind, status, len(fields) // 16, request_id, len(meta))
    length = struct.pack("<Q", len(payload))
    return head + struct.pack("<I", zlib.crc32(head + bytes(4) + length + meta)) + length + meta + payload


def texts(values: Sequence[str]) -> bytes:
    return bytes([len(values)]) + b"".join(struct.pack("<H", len(value)) + value.encode() for value in values)


class FakeSilo:
    """Serves blocks from a dictionary. ``requests`` are the frames it received, as (type, meta); the attributes below
    are its faults, and may be changed at any time."""

    def __init__(self, tenant: str = "default", secret: bytes = b"", port: int = 0):
        self.tenant, self.secret = tenant, secret
        self.blocks: Dict[Tuple[bytes, bytes], bytes] = {}
        self.requests: List[Tuple[int, bytes]] = []
        #: Of every locate, whether it says that the blocks are about to be read.
        self.is_read: List[bool] = []
        self.puts: List[dict] = []
        #: Hints as (type of the request, end, priority, kind, milliseconds of retention).
        self.hints: List[Tuple[int, int, int, int, int]] = []
        self.released: List[int] = []
        #: Blocks of a get after which the connection breaks.
        self.break_after: Optional[int] = None
        #: Whether the connection breaks behind the last block of a get, before the frame that ends it.
        self.breaks_at_end = False
        #: Called before a request is answered, with its type; may wait, or return bytes to answer instead.
        self.before: Optional[Callable[[int], Optional[bytes]]] = None
        #: Called with type and request id in place of an answer; what it returns is sent, and the connection goes on.
        self.mangles: Optional[Callable[[int, int], bytes]] = None
        #: Blocks that are refused for lack of memory, and where the refusal points to.
        self.full = False
        self.lives: List[int] = []
        self.alternatives: Sequence[str] = ()
        #: What locate answers: silos as (flags, endpoints), and the holders of every hash.
        self.silos: Sequence[Tuple[int, Sequence[str]]] = ((1, ()),)
        self.holders: Dict[bytes, int] = {}
        #: Index of a block whose bytes are damaged on their way.
        self.damages: Optional[int] = None
        #: Tagged fields in front of every answer's meta, a multiple of 16 bytes.
        self.fields = b""
        #: Most blocks of a request, and most namespaces of a connection; one that has more ends its connection.
        self.max_blocks, self.max_namespaces = 16384, 1024
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"tcp:127.0.0.1:{self.port}"
        self.accepted = 0
        self._connections: List[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeSilo":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops listening and breaks every connection."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(10)
        self.break_connections()

    def break_connections(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._connections.clear()

    def count(self, kind: int) -> int:
        return sum(request[0] == kind for request in self.requests)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        session = _Session(self, connection)
        with connection:
            try:
                while session.step():
                    pass
            except (OSError, AssertionError):
                pass


class _Session:
    def __init__(self, silo: FakeSilo, connection: socket.socket):
        self.silo, self.connection = silo, connection
        self.nonces = b""
        self.namespaces: List[Tuple[bytes, List[int]]] = []

    def step(self) -> bool:
        magic, kind, _, units, request_id, meta_length, _, payload_length = HEADER.unpack(self.receive(HEADER.size))
        assert magic == MAGIC
        meta, payload = self.receive(meta_length), self.receive(payload_length)
        fields, meta = meta[:16 * units], meta[16 * units:]
        if kind == LOCATE:
            self.silo.is_read.append(fields[:2] != b"\x03\x00")
        if fields[:2] == b"\x06\x00":
            assert struct.unpack_from("<I", fields, 4)[0] == 12 and not any(fields[20:])
            self.silo.hints.append((kind, *struct.unpack_from("<BBBxQ", fields, 8)))
        if kind > AUTHENTICATE:
            self.silo.requests.append((kind, meta))
            instead = self.silo.before(kind) if self.silo.before else None
            if instead is not None:
                self.connection.sendall(instead)
                return False
            if self.silo.mangles and kind != OPEN:
                self.connection.sendall(self.silo.mangles(kind, request_id))
                return True
        handler = getattr(self, {HELLO: "hello", AUTHENTICATE: "authenticate", OPEN: "open", MATCH: "match", GET: "get",
                                 PUT: "put", DELETE: "delete", RELEASE: "release", STAT: "stat", VERIFY: "verify",
                                 LOCATE: "locate", EXPIRE: "expire", CLEAR: "clear", HINT: "hint"}[kind])
        answer = handler(meta, payload, request_id) if kind in (GET, PUT) else handler(meta)
        if answer is None:
            return False
        self.connection.sendall(answer if kind == GET else frame(kind | 0x80, answer, request_id=request_id, fields=self.silo.fields))
        return True

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.connection.recv(count - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def hello(self, meta: bytes) -> bytes:
        nonce = os.urandom(32)
        self.nonces = meta[4:36] + nonce + meta[38:]
        return struct.pack("<H", 2) + nonce

    def authenticate(self, meta: bytes) -> Optional[bytes]:
        if meta != hmac.digest(self.silo.secret, b"kvcache.client.v1" + self.nonces, "sha256"):
            text = b"The tenant or its secret is wrong."
            self.connection.sendall(frame(0xFF, struct.pack("<H", len(text)) + text, request_id=0, status=17))
            return None
        return hmac.digest(self.silo.secret, b"kvcache.server.v1" + self.nonces, "sha256") + struct.pack(
            "<III", 1 << 20, self.silo.max_blocks, 30000)

    def open(self, meta: bytes) -> bytes:
        starts = _fields(meta)
        tenant = meta[starts[0]:starts[1] - 5]
        layout = meta[starts[7]:starts[8] - 5]  # up to the head of the next field
        identity = b"".join(sha256(data).digest()[:8] for data in (b"kvcache.tenant.v1" + tenant, b"kvcache.namespace.v1" + meta))
        assert len(self.namespaces) < self.silo.max_namespaces
        self.namespaces.append((identity, _layer_sizes(layout)))
        return struct.pack("<I", len(self.namespaces) - 1) + identity

    def hashes(self, meta: bytes, at: int) -> List[bytes]:
        count = struct.unpack_from("<I", meta, at)[0]
        assert len(meta) == at + 4 + 32 * count and count <= self.silo.max_blocks
        return [meta[start:start + 32] for start in range(at + 4, len(meta), 32)]

    def has(self, handle: int, block_hash: bytes) -> bool:
        return (self.namespaces[handle][0], block_hash) in self.silo.blocks

    def match(self, meta: bytes) -> bytes:
        hold, count = struct.unpack_from("<II", meta)
        handles = struct.unpack_from(f"<{count}I", meta, 8)
        found = 0
        for block_hash in self.hashes(meta, 8 + 4 * count):
            if not all(self.has(handle, block_hash) for handle in handles):
                break
            found += 1
        held = hold if found else 0
        return struct.pack("<IQI", found, 7 if held else 0, held)

    def locate(self, meta: bytes) -> bytes:
        handle = struct.unpack_from("<I", meta)[0]
        masks = []
        for block_hash in self.hashes(meta, 4):
            mask = self.silo.holders.get(block_hash, 1 if self.has(handle, block_hash) else 0)
            if not mask:
                break
            masks.append(mask)
        silos = b"".join(bytes([flags]) + texts(endpoints) for flags, endpoints in self.silo.silos)
        runs = b"".join(struct.pack("<IQ", 1, mask) for mask in masks)
        return struct.pack("<IB", len(masks), len(self.silo.silos)) + silos + struct.pack("<I", len(masks)) + runs

    def get(self, meta: bytes, _: bytes, request_id: int) -> Optional[bytes]:
        handle, flags, first, layers = struct.unpack_from("<IBII", meta)
        identity, sizes = self.namespaces[handle]
        ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        delivered = 0
        for index, block_hash in enumerate(self.hashes(meta, 13)):
            if self.silo.break_after is not None and index >= self.silo.break_after:
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
            block = self.silo.blocks.get((identity, block_hash))
            if block is None:
                if not flags & 1:
                    break
                self.connection.sendall(frame(0x85, struct.pack("<I", index), request_id=request_id, status=1))
                continue
            crcs = [zlib.crc32(block[ends[i]:ends[i + 1]]) for i in range(first, first + layers)]
            part = block[ends[first]:ends[first + layers]]
            if self.silo.damages == index:
                part = bytes([part[0] ^ 1]) + part[1:]
            self.connection.sendall(frame(0x85, struct.pack(f"<IQ{layers}I", index, 1, *crcs), part, request_id))
            delivered += 1
        if self.silo.breaks_at_end:
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return frame(0xA5, struct.pack("<I", delivered), request_id=request_id)

    def put(self, meta: bytes, payload: bytes, _: int) -> bytes:
        handle, ttl, flags, copies, previous, depth, request, new = struct.unpack_from("<IQBB32sIQI", meta)
        identity, sizes = self.namespaces[handle]
        hashes = self.hashes(meta, 62)
        self.silo.puts.append({"hashes": hashes, "ttl": ttl, "flags": flags, "copies": copies, "previous": previous,
                               "depth": depth, "request": request, "new": new})
        outcomes, step = [], sum(sizes) + 4 * len(sizes)
        assert len(payload) == step * len(hashes)
        for index, block_hash in enumerate(hashes):
            block = payload[index * step:index * step + sum(sizes)]
            crcs, at = [], 0
            for size in sizes:
                crcs.append(zlib.crc32(block[at:at + size]))
                at += size
            assert struct.pack(f"<{len(sizes)}I", *crcs) == payload[index * step + sum(sizes):(index + 1) * step]
            if (identity, block_hash) in self.silo.blocks:
                outcomes.append(ALREADY_STORED)
            elif self.silo.full:
                outcomes.append(NO_MEMORY)
            else:
                self.silo.blocks[identity, block_hash] = block
                outcomes.append(STORED)
        return struct.pack("<I", len(hashes)) + bytes(outcomes) + texts(self.silo.alternatives if NO_MEMORY in outcomes else ())

    def expire(self, meta: bytes) -> bytes:
        handle, life = struct.unpack_from("<IQ", meta)
        known = [(self.namespaces[handle][0], block_hash) in self.silo.blocks for block_hash in self.hashes(meta, 12)]
        self.silo.lives.append(life)
        return struct.pack("<I", len(known)) + bytes(known)

    def hint(self, meta: bytes) -> bytes:
        handle = struct.unpack_from("<I", meta)[0]
        return struct.pack("<I", sum(self.has(handle, block_hash) for block_hash in self.hashes(meta, 4)))

    def clear(self, meta: bytes) -> bytes:
        identity = self.namespaces[struct.unpack_from("<I", meta)[0]][0]
        keys = [key for key in self.silo.blocks if key[0] == identity]
        for key in keys:
            del self.silo.blocks[key]
        return struct.pack("<IB", len(keys), 1)

    def delete(self, meta: bytes) -> bytes:
        identity = self.namespaces[struct.unpack_from("<I", meta)[0]][0]
        done = [self.silo.blocks.pop((identity, block_hash), None) is not None for block_hash in self.hashes(meta, 4)]
        return struct.pack("<I", len(done)) + bytes(done)

    def release(self, meta: bytes) -> bytes:
        self.silo.released.append(struct.unpack("<Q", meta)[0])
        return struct.pack("<I", 1)

    def stat(self, _: bytes) -> bytes:
        return b'{"store":{}}'

    def verify(self, _: bytes) -> bytes:
        return struct.pack("<I", 0)


def _fields(encoding: bytes) -> List[int]:
    """Where the values of the fields of a namespace begin."""
    at, starts = 0, []
    while at < len(encoding):
        starts.append(at + 5)
        at += 5 + struct.unpack_from("<I", encoding, at + 1)[0]
    return starts


def _layer_sizes(layout: bytes) -> List[int]:
    if layout[0] == 1:
        _, tokens, layers, heads, dim, parts, kind = struct.unpack("<B4I2B", layout)
        return [parts * tokens * heads * dim * {1: 4, 2: 2, 3: 2}.get(kind, 1)] * layers
    ends = (0,) + struct.unpack_from(f"<{struct.unpack_from('<I', layout, 5)[0]}I", layout, 9)
    return [end - start for start, end in zip(ends, ends[1:])]
