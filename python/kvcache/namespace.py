"""The calls on a namespace that is open on a connection."""
from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .buffers import cut, split, view_of, views_of_block
from .connection import Connection
from .deadline import Timeout
from .hashing import Namespace
from .hints import Hint, field_of
from .wire import (CLEAR, DELETE, EXPIRE, GET, GET_END, HINT, KEEPS_LIFE, LOCAL_ONLY, LOCATE, NOT_A_READ, PAST_MISSES, PERSISTED,
                   PIN, PUT, REDIS_BIT, REPLY, VERIFY, Item, Outcome, Status, milliseconds, pack)

if TYPE_CHECKING:
    from .client import Client


# Bytes of a request beside its hashes: of a get, a put, and calls that name little else.
GET_FIELDS, PUT_FIELDS, COUNT_FIELDS = 17, 68, 16


class Match(NamedTuple):
    """Answer of a match: the first ``found`` blocks are stored. ``hold_id`` is 0 when nothing is held."""
    found: int
    hold_id: int
    hold_ms: int


class Deletion(NamedTuple):
    """Answer of a deletion. ``deleted`` blocks were stored and are certainly gone everywhere. Unless ``is_confirmed``, a silo or Redis has
    not answered, or the answer was not waited for: it goes on, and asking again tells how it ended."""
    deleted: int
    is_confirmed: bool


class Silo(NamedTuple):
    """A silo of a location. ``answers`` says that it is the one that was asked."""
    answers: bool
    endpoints: Tuple[str, ...]


class Location(NamedTuple):
    """Where the first ``len(holders)`` blocks of a chain are. Bit i of a block's holders is ``silos[i]``; the bit
    ``REDIS_BIT`` is Redis."""
    silos: Tuple[Silo, ...]
    holders: Tuple[int, ...]


class PutOutcomes(List[Outcome]):
    """What became of each block of a put, and where blocks that were refused for lack of memory may be put, once."""
    alternatives: Tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenNamespace:
    """A namespace that is open on a connection. Hashes are those of ``kvcache.hashing``, of 32 bytes each."""
    client: Client
    namespace: Namespace
    handle: int

    def match(self, hashes: Sequence[bytes], hold_ms: int = 0, timeout: Timeout = None, hint: Optional[Hint] = None) -> Match:
        """How many blocks of a chain are stored. With ``hold_ms`` they stay until the hold ends; see ``Match``."""
        return self.client.match([self], hashes, hold_ms, timeout, hint)

    def hint(self, hashes: Sequence[bytes], hint: Hint, timeout: Timeout = None) -> int:
        """Tells what is known of a chain after its answer. Returns how many blocks of it are stored."""
        self.client.check_blocks(len(hashes), COUNT_FIELDS + len(hint.field()))
        meta = pack("<II", self.handle, len(hashes)) + join(hashes)
        with self.client.call(timeout):
            return self.client.number(HINT, meta, hint.field())

    def locate(self, hashes: Sequence[bytes], timeout: Timeout = None, is_read: bool = False) -> Location:
        """Where the blocks of a chain are, up to the first that is nowhere. ``is_read`` says that they are about to be read: silos
        take copies of what is often read from afar."""
        self.client.check_blocks(len(hashes), COUNT_FIELDS)
        meta = pack("<II", self.handle, len(hashes)) + join(hashes)
        with self.client.call(timeout):
            return _location(self.client.request(LOCATE, meta, b"" if is_read else NOT_A_READ), len(hashes))

    def get_into(self, hashes: Sequence[bytes], buffer: Any, offset: int = 0, first_layer: int = 0,
                 layers: Optional[int] = None, past_misses: bool = False, local_only: bool = False,
                 timeout: Timeout = None) -> List[bool]:
        """Reads blocks straight into a writable buffer: block i at ``offset + i * size``, where size is that of the
        requested layers. Returns which blocks are there; see ``read``."""
        size = sum(self.namespace.layer_sizes(first_layer, layers))
        target = view_of(buffer)
        if target.readonly:
            raise ValueError("the buffer is read-only")
        hits = [False] * len(hashes)
        self.read(hashes, split(target, size, len(hashes), offset), hits, first_layer, layers, past_misses, local_only,
                  timeout=timeout)
        return hits

    def read(self, hashes: Sequence[bytes], targets: Sequence[Any], hits: List[bool], first_layer: int = 0,
             layers: Optional[int] = None, past_misses: bool = False, local_only: bool = False,
             arrived: Optional[Callable[[int], None]] = None, timeout: Timeout = None, hint: Optional[Hint] = None) -> None:
        """Reads blocks straight into writable memory, each target a buffer or a list of buffers in the order of its
        bytes. Sets ``hits`` to True for every block that arrived intact, as soon as it did, also when the call fails
        later, and calls ``arrived`` with its index. The bytes of blocks that did not are undefined.

        Without ``past_misses`` the silo stops at the first block that is not stored. A block that arrives damaged is
        reported to the silo and counts as not there, so a hit may follow it in either case. With ``local_only`` the
        silo answers from its own memory, and does not fetch what other silos or Redis have.
        """
        sizes = self.namespace.layer_sizes(first_layer, layers)
        if len(targets) != len(hashes):
            raise ValueError("every hash needs a target")
        pieces = [cut(views_of_block(target), sizes) for target in targets]
        if any(view.readonly for block in pieces for layer in block for view in layer):
            raise ValueError("a target is read-only")
        self.client.check_blocks(len(hashes), GET_FIELDS + len(field_of(hint)))
        flags = past_misses * PAST_MISSES | local_only * LOCAL_ONLY
        meta = pack("<IBIII", self.handle, flags, first_layer, len(sizes), len(hashes)) + join(hashes)
        damaged: List[Tuple[int, int]] = []
        with self.client.call(timeout) as connection:
            request_id = connection.send(GET, meta, fields=field_of(hint))
            for index, generation, intact in _receive_blocks(connection, request_id, pieces, sum(sizes)):
                if not intact:
                    damaged.append((index, generation))
                    continue
                hits[index] = True
                if arrived:
                    arrived(index)
            for index, generation in damaged:
                self.client.number(VERIFY, struct.pack("<I32sQ", self.handle, hashes[index], generation))

    def put(self, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None, depth: int = 0,
            ttl_seconds: float = 0, request_id: int = 0, new_tokens: int = 0, copies: int = 1, persisted: bool = False,
            timeout: Timeout = None, refresh_life: bool = True, hint: Optional[Hint] = None) -> PutOutcomes:
        """Stores blocks and returns what became of each. A block is a buffer, or a list of buffers in its order.

        ``previous`` is the hash of the block before the first one, if there is one, and ``depth`` the index of the
        first block in its chain, from 0. ``ttl_seconds`` of 0 keeps blocks for as long as memory lasts; with
        ``refresh_life`` another one counts for blocks that are stored already too, from now on. ``request_id`` is that of the
        engine's request which computed them, and ``new_tokens`` how many tokens it appended behind what was cached; 0 when unknown. ``copies`` is on how many silos the blocks shall be; ``persisted`` writes them to
        Redis behind the put. ``hint`` is what is known of when the blocks are used again.
        """
        sizes = self.namespace.layer_sizes()
        if len(blocks) != len(hashes):
            raise ValueError(f"every hash needs a block of {sum(sizes)} bytes")
        pieces = [cut(views_of_block(block), sizes) for block in blocks]
        self.client.check_blocks(len(hashes), PUT_FIELDS + len(field_of(hint)))
        meta = pack("<IQBB32sIQII", self.handle, milliseconds(ttl_seconds),
                    persisted * PERSISTED | (not refresh_life) * KEEPS_LIFE, copies,
                           join([previous or bytes(32)]), depth, request_id, new_tokens, len(hashes)) + join(hashes)
        with self.client.call(timeout) as connection:
            sent = connection.send(PUT, meta, _payload(pieces), len(pieces) * (sum(sizes) + 4 * len(sizes)), field_of(hint))
            return _put_outcomes(connection.receive(sent, PUT | REPLY)[1], len(hashes))

    def pin(self, hashes: Sequence[bytes], seconds: float, timeout: Timeout = None) -> int:
        """Keeps blocks for a time, 0 to end that. Returns for how many it worked."""
        self.client.check_blocks(len(hashes), COUNT_FIELDS)
        meta = pack("<IQI", self.handle, milliseconds(seconds), len(hashes)) + join(hashes)
        with self.client.call(timeout):
            return self.client.items_done(PIN, meta, len(hashes))

    def expire(self, hashes: Sequence[bytes], ttl_seconds: float, timeout: Timeout = None) -> int:
        """Sets the life of blocks from now on, 0 for as long as memory lasts. Returns for how many it worked."""
        self.client.check_blocks(len(hashes), COUNT_FIELDS)
        meta = pack("<IQI", self.handle, milliseconds(ttl_seconds), len(hashes)) + join(hashes)
        with self.client.call(timeout):
            return self.client.items_done(EXPIRE, meta, len(hashes))

    def clear(self, timeout: Timeout = None) -> Deletion:
        """Forgets all blocks of the namespace; a large one takes longer than a call, and it goes on."""
        with self.client.call(timeout):
            deleted, confirmed = struct.unpack("<IB", self.client.request(CLEAR, pack("<I", self.handle)))
            return Deletion(deleted, confirmed == 1)

    def delete(self, hashes: Sequence[bytes], timeout: Timeout = None) -> Deletion:
        """Forgets blocks; what is not confirmed goes on in the background."""
        self.client.check_blocks(len(hashes), COUNT_FIELDS)
        meta = pack("<II", self.handle, len(hashes)) + join(hashes)
        with self.client.call(timeout):
            items = self.client.items(DELETE, meta, len(hashes))
            return Deletion(items.count(Item.DONE), all(item in (Item.DONE, Item.NOTHING) for item in items))


def join(hashes: Sequence[bytes]) -> bytes:
    """Hashes as they stand in a request."""
    if any(len(block_hash) != 32 for block_hash in hashes):
        raise ValueError("a hash has 32 bytes")
    return b"".join(hashes)


def _payload(pieces: List[List[List[memoryview]]]) -> Iterator[Any]:
    """Blocks as they travel: the bytes, then the checksums of the layers, computed while the bytes are sent."""
    for block in pieces:
        checksums = []
        for layer in block:
            crc = 0
            for view in layer:
                yield view
                crc = zlib.crc32(view, crc)
            checksums.append(crc)
        yield struct.pack(f"<{len(checksums)}I", *checksums)


def _receive_blocks(connection: Connection, request_id: int, pieces: List[List[List[memoryview]]],
                    size: int) -> Iterator[Tuple[int, int, bool]]:
    """The answer of a get: index and generation of every block that arrived, and whether it arrived intact."""
    count = expected = 0
    while True:
        kind, meta, status, length = connection.receive(request_id, GET | REPLY, GET_END)
        if kind == GET_END:
            if struct.unpack("<I", meta)[0] != count:
                raise ConnectionError("the server counts other blocks than arrived")
            return
        index = struct.unpack_from("<I", meta)[0]
        if index != expected or index >= len(pieces) or length != (0 if status == Status.MISS else size):
            raise ConnectionError("the server sent another block than the next one")
        expected += 1
        if status == Status.MISS:
            continue
        count += 1
        generation, *checksums = struct.unpack_from(f"<Q{len(pieces[index])}I", meta, 4)
        received = []
        for layer in pieces[index]:
            crc = 0
            for view in layer:
                crc = connection.read_into(view, crc)
            received.append(crc)
        yield index, generation, received == checksums


def _put_outcomes(reply: bytes, count: int) -> PutOutcomes:
    if struct.unpack_from("<I", reply)[0] != count or len(reply) < 5 + count:
        raise ConnectionError("the server answers for other blocks than were put")
    outcomes = PutOutcomes(Outcome(value) for value in reply[4:4 + count])
    outcomes.alternatives, end = _texts(reply, 4 + count)
    if end != len(reply):
        raise ConnectionError("the answer of a put is longer than it says")
    return outcomes


def _texts(data: bytes, at: int) -> Tuple[Tuple[str, ...], int]:
    """A list of texts, its count in front, and where it ends."""
    count, at = data[at], at + 1
    texts = []
    for _ in range(count):
        length = struct.unpack_from("<H", data, at)[0]
        if at + 2 + length > len(data):
            raise ConnectionError("a text is longer than its frame")
        texts.append(data[at + 2:at + 2 + length].decode())
        at += 2 + length
    return tuple(texts), at


def _location(reply: bytes, count: int) -> Location:
    try:
        found, silo_count = struct.unpack_from("<IB", reply)
        at, silos = 5, []
        for _ in range(silo_count):
            flags = reply[at]
            endpoints, at = _texts(reply, at + 1)
            silos.append(Silo(bool(flags & 1), endpoints))
        runs, at = struct.unpack_from("<I", reply, at)[0], at + 4
        holders: List[int] = []
        for _ in range(runs):
            blocks, mask = struct.unpack_from("<IQ", reply, at)
            at += 12
            if len(holders) + blocks > count or mask & ~(1 << REDIS_BIT) >= 1 << silo_count:
                raise ConnectionError("a location names blocks or silos that there are not")
            holders += [mask] * blocks
    except IndexError as error:
        raise ConnectionError("a location is shorter than it says") from error
    if len(holders) != found or at != len(reply):
        raise ConnectionError("a location does not add up")
    return Location(tuple(silos), tuple(holders))
