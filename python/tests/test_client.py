"""The client against a scripted peer, and against a real silo.

The tests of ``SiloTest`` need a running silo: KVCACHE_ENDPOINT names it (``tcp:host:port``), and KVCACHE_UNIX (``unix:path``),
KVCACHE_TENANT and KVCACHE_SECRET where they apply.
"""
import hmac
import json
import os
import socket
import struct
import threading
import time
import unittest
import zlib
from dataclasses import replace
from typing import Iterator

from kvcache import (Client, DataType, KvCacheError, Match, Namespace, OpaqueLayout, Outcome, Status, StructuredLayout,
                     prefix_chain)
from kvcache.connection import connect as _connect
from kvcache.deadline import Deadline
from kvcache.wire import HEADER, MAGIC

from harness.silos import eventually

ENDPOINT = os.environ.get("KVCACHE_ENDPOINT", "")
UNIX = os.environ.get("KVCACHE_UNIX", "")
TENANT = os.environ.get("KVCACHE_TENANT", "default")
SECRET = os.environ.get("KVCACHE_SECRET", "").encode()

LAYOUT = StructuredLayout(16, 3, 2, 8, DataType.FLOAT16)
BLOCK = LAYOUT.layer_ends[-1]
LAYER = LAYOUT.layer_ends[0]
HELLO, AUTHENTICATE, OPEN, MATCH, GET, PUT, STAT, VERIFY = 1, 2, 3, 4, 5, 6, 10, 11
BLOCK_FRAME, GET_END, ERROR = 0x85, 0xA5, 0xFF


def frame(kind: int, meta: bytes = b"", payload: bytes = b"", request_id: int = 1, status: int = 0, fields: bytes = b"") -> bytes:
    """A frame as the document describes it, made without the code under test."""
    meta = fields + meta
    head = struct.pack("<IBBHQI", MAGIC, kind, status, len(fields) // 16, request_id, len(meta))
    length = struct.pack("<Q", len(payload))
    crc = zlib.crc32(head + bytes(4) + length + meta)
    return head + struct.pack("<I", crc) + length + meta + payload


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data


def receive_frame(connection: socket.socket) -> "tuple[int, int, int, bytes]":
    """Type, status, request id and meta of the next frame; its payload is thrown away."""
    _, kind, status, _, request_id, meta_length, _, payload_length = HEADER.unpack(receive_exactly(connection, HEADER.size))
    meta = receive_exactly(connection, meta_length)
    receive_exactly(connection, payload_length)
    return kind, status, request_id, meta


def proof(side: bytes, nonces: bytes, tenant: str, secret: bytes) -> bytes:
    return hmac.digest(secret, b"kvcache." + side + b".v1" + nonces + tenant.encode(), "sha256")


class ScriptedPeer:
    """A server that greets as a silo does and then answers every request with the bytes, or pieces, that ``answer`` returns."""

    def __init__(self, answer, secret: bytes = b"", version: int = 2):
        self.requests, self.version = [], version
        self._answer, self._secret = answer, secret
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "tcp:127.0.0.1:%d" % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> "ScriptedPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        connection = self._listener.accept()[0]
        with connection:
            connection.settimeout(10)
            nonces = b""
            while True:
                try:
                    kind, _, request_id, meta = receive_frame(connection)
                except OSError:
                    return
                if kind == HELLO:
                    nonces = meta[4:36] + bytes(32)
                    reply = frame(0x81, struct.pack("<H", self.version) + bytes(32), request_id=request_id)
                elif kind == AUTHENTICATE:
                    meta = proof(b"server", nonces, "default", self._secret) + struct.pack("<III", 1 << 20, 16384, 1000)
                    reply = frame(0x82, meta, request_id=request_id)
                elif kind == OPEN:
                    reply = frame(0x83, struct.pack("<I", 0) + Namespace("m", LAYOUT).id, request_id=request_id)
                else:
                    self.requests.append((kind, meta))
                    reply = self._answer(kind, request_id)
                try:
                    for piece in [reply] if isinstance(reply, bytes) else reply:
                        connection.sendall(piece)
                except OSError:
                    return


class BrokenStream(unittest.TestCase):
    """What the client makes of a peer that misbehaves."""

    def assert_closed(self, client: Client) -> None:
        with self.assertRaisesRegex(KvCacheError, "the connection is closed: "):
            client.stat()

    def call(self, answer, message: str) -> None:
        """A stat that fails with a message, and leaves the client closed."""
        with ScriptedPeer(answer) as peer, Client(peer.endpoint) as client:
            with self.assertRaisesRegex(KvCacheError, message):
                client.stat(timeout=0.5)
            self.assert_closed(client)
            self.assertEqual(1, len(peer.requests))

    def test_wrong_server_proof(self) -> None:
        with ScriptedPeer(None, secret=b"another") as peer, self.assertRaisesRegex(KvCacheError, "does not know"):
            Client(peer.endpoint, secret=b"mine")

    def test_deadline(self) -> None:
        self.call(lambda kind, request_id: b"", "deadline")

    def test_deadline_in_the_middle_of_a_frame(self) -> None:
        self.call(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id)[:-1], "deadline")

    def test_deadline_covers_the_whole_call(self) -> None:
        def drip(kind: int, request_id: int) -> Iterator[bytes]:
            for byte in frame(0x8A, b"{}", request_id=request_id):
                time.sleep(0.1)
                yield bytes([byte])
        began = time.monotonic()
        self.call(drip, "deadline")
        self.assertLess(time.monotonic() - began, 2)

    def test_answer_to_another_request(self) -> None:
        self.call(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id - 1), "no request waits for")

    def test_error_of_another_request(self) -> None:
        self.call(lambda kind, number: frame(ERROR, struct.pack("<H", 2) + b"No", request_id=number + 1, status=21), "no request waits for")

    def test_requests_are_numbered_from_anywhere(self) -> None:
        numbers = []

        def answer(kind: int, request_id: int) -> bytes:
            numbers.append(request_id)
            return frame(0x8A, b"{}", request_id=request_id)
        for _ in range(3):
            with ScriptedPeer(answer) as peer, Client(peer.endpoint) as client:
                client.stat()
                client.stat()
        self.assertEqual([1, 1, 1], [second - first for first, second in zip(numbers[::2], numbers[1::2])])
        self.assertTrue(all(number >> 40 for number in numbers), numbers)

    def test_request_numbers_go_round_without_0(self) -> None:
        with ScriptedPeer(lambda kind, number: frame(0x8A, json.dumps({"number": number}).encode(), request_id=number)) as peer:
            with Client(peer.endpoint) as client:
                client._connection._last_id = (1 << 64) - 2
                self.assertEqual([(1 << 64) - 1, 1, 2], [client.stat()["number"] for _ in range(3)])

    def test_answer_of_another_type(self) -> None:
        self.call(lambda kind, request_id: frame(0x89, b"{}", request_id=request_id), "no request waits for")

    def test_damaged_frame(self) -> None:
        self.call(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id)[:-1] + b"]", "damaged")

    def test_what_a_later_silo_says_more_is_passed_over(self) -> None:
        later = struct.pack("<HHI3s", 77, 0, 3, b"abc") + bytes(5)
        with ScriptedPeer(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id, fields=later)) as peer:
            with Client(peer.endpoint) as client:
                self.assertEqual({}, client.stat())

    def test_what_must_be_understood_and_is_not_ends_the_connection(self) -> None:
        later = struct.pack("<HHIQ", 0x8001, 0, 8, 1)
        self.call(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id, fields=later), "0x8001, which must be understood")

    def test_fields_that_are_none(self) -> None:
        damaged = struct.pack("<HHIQ", 1, 0, 99, 1)
        self.call(lambda kind, request_id: frame(0x8A, b"{}", request_id=request_id, fields=damaged), "fields of a frame are damaged")

    def test_a_version_that_was_not_offered(self) -> None:
        with ScriptedPeer(None, version=1) as peer, self.assertRaisesRegex(KvCacheError, "version 1, which was not offered"):
            Client(peer.endpoint)

    def test_no_frame(self) -> None:
        self.call(lambda kind, request_id: b"HTTP/1.1 400 Bad Request\r\n\r\n....", "no frame")

    def test_error_of_the_connection(self) -> None:
        error = frame(ERROR, struct.pack("<H", 4) + b"Bye.", request_id=0, status=23)
        self.call(lambda kind, request_id: error, "Bye")

    def test_unknown_status_is_a_number(self) -> None:
        def answer(kind: int, request_id: int) -> bytes:
            return frame(ERROR, struct.pack("<H", 2) + b"No", request_id=request_id, status=99)
        with ScriptedPeer(answer) as peer, Client(peer.endpoint) as client:
            with self.assertRaises(KvCacheError) as raised:
                client.stat()
            self.assertEqual(99, raised.exception.status)
            self.assert_closed(client)

    def test_damaged_block_is_a_miss_and_reported(self) -> None:
        hashes = prefix_chain(range(48), 16)
        blocks = [bytes([i]) * BLOCK for i in range(3)]

        def answer(kind: int, request_id: int) -> bytes:
            if kind == VERIFY:
                return frame(0x8B, struct.pack("<I", 0), request_id=request_id)
            frames = b""
            for index, block in enumerate(blocks):
                crcs = [zlib.crc32(block[at:at + LAYER]) for at in range(0, BLOCK, LAYER)]
                damage = b"\xff" if index == 1 else block[:1]
                frames += frame(BLOCK_FRAME, struct.pack("<IQ3I", index, 70 + index, *crcs), damage + block[1:], request_id)
            return frames + frame(GET_END, struct.pack("<I", 3), request_id=request_id)

        with ScriptedPeer(answer) as peer, Client(peer.endpoint) as client:
            buffer = bytearray(3 * BLOCK)
            self.assertEqual([True, False, True], client.open(Namespace("m", LAYOUT)).get_into(hashes, buffer))
            self.assertEqual([blocks[0], blocks[2]], [buffer[:BLOCK], buffer[2 * BLOCK:]])
        self.assertEqual([GET, VERIFY], [kind for kind, _ in peer.requests])
        self.assertEqual(struct.pack("<I32sQ", 0, hashes[1], 71), peer.requests[1][1])

    def test_nobody_listens(self) -> None:
        for endpoint in ("tcp:127.0.0.1:1", "unix:/nowhere/kvcache.sock"):
            with self.assertRaisesRegex(KvCacheError, "no connection"):
                Client(endpoint)
        for endpoint in ("127.0.0.1:7400", "tcp:7400", "tcp:localhost:", "udp:localhost:1"):
            with self.assertRaises(ValueError):
                Client(endpoint)


@unittest.skipUnless(ENDPOINT, "KVCACHE_ENDPOINT is not set: no silo to test against")
class SiloTest(unittest.TestCase):
    def setUp(self) -> None:
        self.client = Client(ENDPOINT, TENANT, SECRET)
        self.addCleanup(self.client.close)
        # Every test has names of its own, also in a silo that outlives the run.
        self.namespace = Namespace("test", LAYOUT, tenant=TENANT, salt=os.urandom(8).hex())
        self.cache = self.client.open(self.namespace)
        self.hashes = prefix_chain(range(5 * 16), 16)
        self.blocks = [os.urandom(BLOCK) for _ in self.hashes]

    def put_all(self) -> None:
        self.assertEqual([Outcome.STORED] * 5, self.cache.put(self.hashes, self.blocks))

    def assert_refused(self, status: Status, call, *arguments) -> None:
        with self.assertRaises(KvCacheError) as raised:
            call(*arguments)
        self.assertEqual(status, raised.exception.status)
        self.assertGreater(len(str(raised.exception)), 10)

    def assert_others_unharmed(self) -> None:
        self.assertIn("blocks", self.client.stat())

    def raw(self) -> socket.socket:
        """An authenticated connection without the client."""
        connection = _connect(ENDPOINT, Deadline(10))
        self.addCleanup(connection.close)
        nonce, name = os.urandom(32), TENANT.encode()
        connection.sendall(frame(HELLO, struct.pack("<HH", 2, 2) + nonce + struct.pack("<H", len(name)) + name))
        nonces = nonce + receive_frame(connection)[3][2:]
        connection.sendall(frame(AUTHENTICATE, proof(b"client", nonces, TENANT, SECRET)))
        self.assertEqual(proof(b"server", nonces, TENANT, SECRET), receive_frame(connection)[3][:32])
        return connection

    def assert_ended_with_bad_frame(self, connection: socket.socket) -> None:
        kind, status, request_id, meta = receive_frame(connection)
        self.assertEqual((ERROR, Status.BAD_FRAME, 0), (kind, status, request_id))
        self.assertEqual(len(meta) - 2, struct.unpack_from("<H", meta)[0])
        self.assert_ended(connection)

    def assert_ended(self, connection: socket.socket) -> None:
        try:
            self.assertEqual(b"", connection.recv(1))
        except ConnectionResetError:
            pass  # the silo left with bytes of ours unread
        self.assert_others_unharmed()

    def round_trip(self, endpoint: str) -> None:
        with Client(endpoint, TENANT, SECRET) as client:
            cache = client.open(self.namespace)
            self.assertEqual([Outcome.STORED] * 5, cache.put(self.hashes, self.blocks))
            self.assertEqual(Match(5, 0, 0), cache.match(self.hashes))
            buffer = bytearray(5 * BLOCK)
            self.assertEqual([True] * 5, cache.get_into(self.hashes, buffer))
            self.assertEqual(b"".join(self.blocks), buffer)

    def test_round_trip_tcp(self) -> None:
        self.round_trip(ENDPOINT)

    @unittest.skipUnless(UNIX, "KVCACHE_UNIX is not set: no Unix socket to test against")
    def test_round_trip_unix(self) -> None:
        self.round_trip(UNIX)

    def test_large_blocks(self) -> None:
        cache = self.client.open(Namespace("large", OpaqueLayout(16, (1, 3_000_000, 4_000_001)), tenant=TENANT))
        blocks = [os.urandom(4_000_001) for _ in range(3)]
        self.addCleanup(cache.delete, self.hashes[:3])
        self.assertEqual([Outcome.STORED] * 3, cache.put(self.hashes[:3], blocks))
        buffer = bytearray(3 * 4_000_001)
        self.assertEqual([True] * 3, cache.get_into(self.hashes[:3], buffer))
        self.assertEqual(b"".join(blocks), buffer)

    def test_layer_range(self) -> None:
        self.put_all()
        for first, count in ((0, 1), (1, 1), (1, 2), (2, 1)):
            buffer = bytearray(5 * count * LAYER)
            self.assertEqual([True] * 5, self.cache.get_into(self.hashes, buffer, first_layer=first, layers=count))
            self.assertEqual(b"".join(block[first * LAYER:(first + count) * LAYER] for block in self.blocks), buffer)
        buffer = bytearray(2 * LAYER)
        self.assertEqual([True], self.cache.get_into(self.hashes[:1], buffer, first_layer=1))
        self.assertEqual(self.blocks[0][LAYER:], buffer)

    def test_partial_prefix(self) -> None:
        self.assertEqual(0, self.cache.match(self.hashes).found)
        self.cache.put(self.hashes[:3], self.blocks[:3])
        self.assertEqual(3, self.cache.match(self.hashes).found)
        other = self.hashes[:2] + prefix_chain([9] * 16, 16, previous=self.hashes[1])
        self.assertEqual(2, self.cache.match(other).found)

    def test_continue_a_chain(self) -> None:
        self.cache.put(self.hashes[:2], self.blocks[:2])
        self.cache.put(self.hashes[2:], self.blocks[2:], previous=self.hashes[1], depth=2, request_id=7, new_tokens=48)
        self.assertEqual(5, self.cache.match(self.hashes).found)

    def test_into_a_part_of_the_callers_buffer(self) -> None:
        self.put_all()
        buffer = bytearray(b"\xee" * (7 + 2 * BLOCK + 9))
        self.assertEqual([True] * 2, self.cache.get_into(self.hashes[:2], memoryview(buffer), offset=7))
        self.assertEqual(b"\xee" * 7 + self.blocks[0] + self.blocks[1] + b"\xee" * 9, buffer)
        for wrong, offset in ((bytes(BLOCK), 0), (bytearray(BLOCK - 1), 0), (bytearray(BLOCK), 1), (bytearray(BLOCK), -1)):
            with self.assertRaises(ValueError):
                self.cache.get_into(self.hashes[:1], wrong, offset)
        self.assert_others_unharmed()

    def test_misses(self) -> None:
        self.cache.put(self.hashes[:1] + self.hashes[2:4], self.blocks[:1] + self.blocks[2:4])
        buffer = bytearray(5 * BLOCK)
        self.assertEqual([True, False, False, False, False], self.cache.get_into(self.hashes, buffer))
        self.assertEqual([True, False, True, True, False], self.cache.get_into(self.hashes, buffer, past_misses=True))
        self.assertEqual(self.blocks[2] + self.blocks[3], buffer[2 * BLOCK:4 * BLOCK])

    def test_put_twice(self) -> None:
        self.put_all()
        self.assertEqual([Outcome.ALREADY_STORED] * 5, self.cache.put(self.hashes, [bytes(BLOCK)] * 5))
        buffer = bytearray(BLOCK)
        self.cache.get_into(self.hashes[:1], buffer)
        self.assertEqual(self.blocks[0], buffer)

    def test_arguments_that_cannot_be_sent(self) -> None:
        for blocks in (self.blocks[:4], [*self.blocks[:4], bytes(BLOCK + 1)]):
            with self.assertRaises(ValueError):
                self.cache.put(self.hashes, blocks)
        for call in (lambda: self.cache.match([b"short"]), lambda: self.cache.match([], hold_ms=-1),
                     lambda: self.cache.put(self.hashes, self.blocks, previous=b"short"), lambda: self.client.release(-1),
                     lambda: self.client.open(Namespace("m", LAYOUT, TENANT, tp_rank=-1)),
                     lambda: self.cache.put(self.hashes, self.blocks, ttl_seconds=1 << 53), lambda: self.cache.pin(self.hashes, -1),
                     lambda: self.cache.put(self.hashes, self.blocks, copies=256), lambda: self.client.match([self.cache] * 1025, [])):
            with self.assertRaises(ValueError):
                call()
        self.assert_others_unharmed()

    def test_lives_of_stored_blocks_change(self) -> None:
        self.cache.put(self.hashes, self.blocks)
        self.assertEqual(5, self.cache.expire(self.hashes, 600))
        self.cache.put(self.hashes, self.blocks, ttl_seconds=0.3)
        eventually("the blocks have the life of the latest put, and have expired", lambda: self.cache.match(self.hashes).found == 0)
        self.assertEqual(0, self.cache.expire(self.hashes, 600))

    def test_clear(self) -> None:
        self.cache.put(self.hashes, self.blocks)
        self.assertEqual((5, True), self.cache.clear())
        self.assertEqual(0, self.cache.match(self.hashes).found)

    def test_time_to_live(self) -> None:
        self.cache.put(self.hashes, self.blocks, ttl_seconds=1)
        self.assertEqual(5, self.cache.match(self.hashes).found)
        eventually("the blocks have expired", lambda: self.cache.match(self.hashes).found == 0)

    def test_delete(self) -> None:
        self.put_all()
        self.assertEqual((2, True), self.cache.delete(self.hashes[3:]))
        self.assertEqual((0, True), self.cache.delete(self.hashes[3:]))
        self.assertEqual(3, self.cache.match(self.hashes).found)

    def test_pin(self) -> None:
        self.cache.put(self.hashes[:3], self.blocks[:3])
        self.assertEqual(3, self.cache.pin(self.hashes, 60))
        self.assertEqual(3, self.cache.pin(self.hashes, 0))

    def test_hold_and_release(self) -> None:
        self.put_all()
        match = self.cache.match(self.hashes, hold_ms=5000)
        self.assertEqual((5, 5000), (match.found, match.hold_ms))
        self.assertNotEqual(0, match.hold_id)
        self.assertTrue(self.client.release(match.hold_id))
        self.assertFalse(self.client.release(match.hold_id))
        self.assertEqual(self.client.limits.max_hold_ms, self.cache.match(self.hashes, hold_ms=0xFFFFFFFF).hold_ms)

    def test_wrong_secret(self) -> None:
        self.assert_refused(Status.NOT_AUTHENTICATED, Client, ENDPOINT, TENANT, b"wrong")
        self.assert_refused(Status.NOT_AUTHENTICATED, Client, ENDPOINT, "nobody", SECRET)

    def test_namespace_of_another_tenant(self) -> None:
        self.assert_refused(Status.WRONG_TENANT, self.client.open, Namespace("test", LAYOUT, tenant="another"))
        self.assertEqual(0, self.cache.match(self.hashes).found)

    def test_namespace_with_a_bad_field(self) -> None:
        layout, opaque = replace(LAYOUT), OpaqueLayout(16, (4, 8))
        for right, owner, name, wrong in ((Namespace("m", layout, TENANT), None, "model", "m" * 257),
                                          (Namespace("m", layout, TENANT, tp_size=2), None, "tp_rank", 2),
                                          (Namespace("m", opaque, TENANT), opaque, "layer_ends", (8, 4)),
                                          (Namespace("m", layout, TENANT), layout, "tokens_per_block", 0)):
            with self.assertRaisesRegex(ValueError, f"{name}: .* was expected"):
                replace(owner or right, **{name: wrong})
            object.__setattr__(owner or right, name, wrong)  # as another client might
            self.assert_refused(Status.OUT_OF_BOUNDS, self.client.open, right)
        self.assertEqual(0, self.cache.match(self.hashes).found)

    def test_namespaces_share_nothing(self) -> None:
        self.put_all()
        other = self.client.open(Namespace("test", LAYOUT, tenant=TENANT, salt="other" + self.namespace.salt))
        self.assertEqual(0, other.match(self.hashes).found)
        self.assertEqual(self.cache, self.client.open(self.namespace))

    def test_stat(self) -> None:
        before = self.client.stat()["writtenBlocks"]
        self.put_all()
        self.assertGreaterEqual(self.client.stat()["writtenBlocks"], before + 5)

    def test_zero_blocks(self) -> None:
        self.assertEqual(Match(0, 0, 0), self.cache.match([], hold_ms=100))
        self.assertEqual([], self.cache.get_into([], bytearray()))
        self.assertEqual([], self.cache.put([], []))
        self.assertEqual((0, (0, True)), (self.cache.pin([], 1), self.cache.delete([])))

    def test_more_blocks_than_a_request_takes_are_told_by_the_client_and_by_the_silo(self) -> None:
        hashes = [struct.pack("<I28x", number) for number in range(16385)]
        self.assertEqual(16384, self.client.limits.max_blocks)
        self.assertEqual(0, self.cache.match(hashes[:-1]).found)
        tiny = Namespace("tiny", OpaqueLayout(1, (1,)), tenant=TENANT)
        calls = (lambda cache: cache.match(hashes), lambda cache: cache.locate(hashes), lambda cache: cache.pin(hashes, 1),
                 lambda cache: cache.delete(hashes), lambda cache: cache.get_into(hashes, bytearray(16385)),
                 lambda cache: cache.put(hashes, [b"x"] * 16385))
        for call in calls:
            with Client(ENDPOINT, TENANT, SECRET) as client:
                cache = client.open(tiny)
                with self.assertRaisesRegex(ValueError, "16385 blocks are more than the 16384 that this silo takes"):
                    call(cache)
                self.assertIn("blocks", client.stat(), "and the connection goes on")
                client.limits = client.limits._replace(max_blocks=20_000)
                self.assert_refused(Status.BAD_FRAME, call, cache)
        self.assert_others_unharmed()

    def test_one_client_in_several_threads(self) -> None:
        self.put_all()
        results = []

        def read() -> None:
            buffer = bytearray(5 * BLOCK)
            for _ in range(20):
                self.cache.get_into(self.hashes, buffer)
                results.append(buffer == b"".join(self.blocks))
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([True] * 80, results)

    def test_put_with_wrong_checksum(self) -> None:
        connection = self.raw()
        connection.sendall(frame(OPEN, self.namespace.encode()))
        handle = struct.unpack_from("<I", receive_frame(connection)[3])[0]
        meta = struct.pack("<IQBB32sIQII", handle, 0, 0, 1, bytes(32), 0, 0, 0, 2) + self.hashes[0] + self.hashes[1]
        payload = b""
        for index, block in enumerate(self.blocks[:2]):
            crcs = [zlib.crc32(block[at:at + LAYER]) for at in range(0, BLOCK, LAYER)]
            crcs[1] ^= index
            payload += block + struct.pack("<3I", *crcs)
        connection.sendall(frame(PUT, meta, payload))
        self.assertEqual(bytes([2, 0, 0, 0, Outcome.STORED, Outcome.CORRUPT, 0]), receive_frame(connection)[3])
        self.assertEqual(1, self.cache.match(self.hashes).found)
        self.assertEqual([Outcome.STORED], self.cache.put(self.hashes[1:2], self.blocks[1:2]))

    def test_garbage(self) -> None:
        for greet in (lambda: _connect(ENDPOINT, Deadline(10)), self.raw):
            with greet() as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assert_ended_with_bad_frame(connection)

    def test_damaged_header_and_meta(self) -> None:
        good = frame(STAT)
        match = frame(MATCH, struct.pack("<IIII", 0, 1, 0, 0))
        for damaged in (good[:8] + b"\x02" + good[9:], match[:-1] + b"\x01", good[:6] + b"\x01" + good[7:]):
            connection = self.raw()
            connection.sendall(damaged)
            self.assert_ended_with_bad_frame(connection)

    def test_messages_of_the_wrong_form(self) -> None:
        for wrong in (frame(STAT, b"x"), frame(9, b"1234567"), frame(99), frame(STAT, b"", b"payload"), frame(HELLO)):
            connection = self.raw()
            connection.sendall(wrong)
            self.assert_ended_with_bad_frame(connection)

    def test_oversize_meta(self) -> None:
        connection = self.raw()
        connection.sendall(struct.pack("<IBBHQIIQ", MAGIC, STAT, 0, 0, 1, (1 << 20) + 1, 0, 0))
        self.assert_ended_with_bad_frame(connection)

    def test_truncated_frames(self) -> None:
        for truncated in (frame(STAT)[:20], frame(MATCH, bytes(12))[:-1], frame(MATCH, bytes(12))[:32]):
            connection = self.raw()
            connection.sendall(truncated)
            connection.shutdown(socket.SHUT_WR)
            self.assert_ended(connection)

    def test_bad_values_harm_only_their_request(self) -> None:
        connection = self.raw()
        connection.sendall(frame(MATCH, struct.pack("<IIII", 0, 1, 99, 0), request_id=5))
        self.assertEqual((ERROR, Status.UNKNOWN_NAMESPACE, 5), receive_frame(connection)[:3])
        connection.sendall(frame(PUT, struct.pack("<I", 99), bytes(100_000), request_id=6))
        self.assertEqual((ERROR, Status.UNKNOWN_NAMESPACE, 6), receive_frame(connection)[:3])
        connection.sendall(frame(OPEN, self.namespace.encode(), request_id=7))
        handle = struct.unpack_from("<I", receive_frame(connection)[3])[0]
        for flags, first, count in ((4, 0, 1), (0, 0, 0), (0, 0, 4), (0, 3, 1), (0, 0xFFFFFFFF, 2), (0, 1, 0x7FFFFFFF)):
            connection.sendall(frame(GET, struct.pack("<IBIII", handle, flags, first, count, 1) + bytes(32), request_id=8))
            self.assertEqual((ERROR, Status.OUT_OF_BOUNDS, 8), receive_frame(connection)[:3])
        connection.sendall(frame(STAT, request_id=9))
        self.assertEqual((0x8A, Status.OK, 9), receive_frame(connection)[:3])

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        connection = self.raw()
        connection.sendall(b"".join(frame(STAT, request_id=number) for number in range(10, 30)))
        self.assertEqual(list(range(10, 30)), [receive_frame(connection)[2] for _ in range(20)])

    def test_closed_client(self) -> None:
        self.client.close()
        with self.assertRaisesRegex(KvCacheError, "closed by its user"):
            self.cache.match(self.hashes)


if __name__ == "__main__":
    unittest.main()
