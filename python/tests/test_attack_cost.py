"""Clients that begin and never end, and connections that only cost: a well-behaved client beside them gets every block, and what they
took comes back. ``KVCACHE_ATTACK_LONG=1`` has as many of them as the attack from outside that found the first faults."""
import base64
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.attack import (KIB, MIB, SCRAPER, SECRETS, Peer, Resp, WellBehaved, comes_back, command, content, door, drain, facts, figures,
                            http, lm_put, names, put_meta, some, space, start, stranger)
from harness.fake_silo import frame
from harness.silos import eventually, needs_silo_program
from kvcache import KvCacheError
from kvcache.wire import GET, HELLO, MATCH, PUT

pytestmark = needs_silo_program
BIG = space("evil", 8 * MIB, 32)
PART = 48 * MIB  # more than the part of a tenant without a share, 0.3 of 96 MiB


@pytest.fixture(scope="module")
def silo():
    with start(gateway=True, settings={"DataPlane:MaxHold": "00:00:30", "Prefixes:WriteLimit": "00:00:20",
                                        "DataPlane:FrameTimeout": "00:00:06"}) as silo:
        yield silo


@pytest.fixture(autouse=True)
def costs_nobody_anything(silo):
    """Runs every attack beside a well-behaved client, and looks at what is left."""
    with WellBehaved(silo):
        pass  # warm
    before = facts(silo)
    with WellBehaved(silo):
        yield
    comes_back(silo, "nothing is being written or read", lambda store: not store["writing"] and not store["leasedBlocks"])
    eventually(f"threads and files go: {before}, {facts(silo)}",
               lambda: facts(silo)[1] < before[1] + 40 and facts(silo)[2] < before[2] + 40, 120)
    assert facts(silo)[0] < before[0] + 128, "memory stays"
    assert len(silo.log) < 1 * MIB


def test_sessions_that_are_cut_at_every_byte(silo):
    space_, two = space("evil", 4 * KIB, 1), names(5000, 2)
    hello = frame(HELLO, struct.pack("<HH32sH", 1, 1, bytes(32), 4) + b"evil")
    for at in range(len(hello)):
        with stranger(silo, "data") as cut:
            cut.sendall(hello[:at])
    put = frame(PUT, put_meta(0, two), content(two[0], 4 * KIB) + bytes(4) + content(two[1], 4 * KIB) + bytes(4), 1 << 40)
    for at in range(1, len(put), some(97, 7)):
        with Peer(silo) as peer:
            peer.open(space_)
            peer.send(put[:at])
    comes_back(silo, "nothing is being written", lambda store: not store["writing"])
    with Peer(silo) as peer:
        assert peer.open(space_).match(two).found == 0


@pytest.mark.parametrize("name", ["data", "resp", "lm", "http", "events", "silo", "gateway"])
def test_connections_that_say_nothing(silo, name):
    sockets, files = [], facts(silo)[2]
    for _ in range(some(600, 5000)):
        try:
            sockets.append(stranger(silo, name))
        except OSError:
            break
    try:
        assert len(sockets) > some(500, 1000)
        eventually("most of them are cut off", lambda: facts(silo)[2] < files + 560, 60)
    finally:
        for connection in sockets:
            connection.close()


@pytest.mark.parametrize("name,data", [
    ("data", frame(HELLO, bytes(100))), ("resp", command("AUTH", "evil", SECRETS["evil"])), ("resp", b"\r\n" * 60), ("lm", bytes(186)),
    ("http", b"GET /v1/stats HTTP/1.1\r\nX: " + b"y" * 200), ("silo", b"KVCDOOR1\x01" + bytes(200)), ("gateway", bytes(200)), ("events", b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(200))],
    ids=["data", "resp", "resp blank lines", "lm", "http", "silo", "gateway", "events"])
def test_bytes_that_drip(silo, name, data):
    connection, began, ended = stranger(silo, name), time.monotonic(), False
    for at in range(len(data)):
        try:
            connection.sendall(data[at:at + 1])
        except OSError:
            ended = True
        ended = ended or drain(connection, 0.3)[0]
        if ended or time.monotonic() - began > (3 if name == "lm" else 20):
            break
    connection.close()
    # LMCache has no proof: a connection keeps its place until somebody wants it.
    assert ended or name == "lm", f"open after {time.monotonic() - began:.0f} s"


def test_puts_that_begin_and_break_off(silo):
    before = figures(silo)["arenaUsedBytes"]
    for i in range(some(150, 10_000)):
        with Peer(silo) as peer:
            peer.announce(names(10_000 + i, 1), space("evil"), 30_000)
    comes_back(silo, "what was begun is given up", lambda store: not store["writing"] and store["arenaUsedBytes"] <= before + PART)


def test_puts_that_stop_in_the_middle_and_stay(silo):
    peers = []
    try:
        for i in range(40):
            try:
                peers.append(Peer(silo))
                peers[-1].announce(names(30_000 + 10 * i, 4), BIG, 1000)
            except KvCacheError:
                break
        assert len(peers) > 8
        # Another tenant stores meanwhile.
        with Peer(silo, "acme") as acme:
            fresh = names(40_000, 64)
            assert all(outcome.is_stored for outcome in
                       acme.open(space("acme")).put(fresh, [content(name, 64 * KIB) for name in fresh]))
        comes_back(silo, "too slow a write is given up", lambda store: not store["writing"])
    finally:
        for peer in peers:
            peer.close()


def test_layers_that_are_announced_and_never_sent(silo):
    before = figures(silo)["arenaUsedBytes"]
    peers = [Peer(silo) for _ in range(4)]
    for i, peer in enumerate(peers):
        peer.announce(names(45_000 + 300 * i, 250), space("evil"), 0, flags=2)
    assert figures(silo)["arenaUsedBytes"] <= before + 8 * MIB
    for peer in peers:
        peer.close()


def test_holds_that_are_never_released(silo):
    own, hashes = space("evil", 4 * KIB, 1), names(50_000, 64)
    with Peer(silo) as peer:
        mine = peer.open(own)
        assert all(outcome.is_stored for outcome in mine.put(hashes, [content(name, 4 * KIB) for name in hashes]))
        for _ in range(some(500, 10_000)):
            peer.match([mine], hashes, 0xFFFFFFFF)
    comes_back(silo, "holds end with their connection", lambda store: not store["leasedBlocks"])


READER = """
import struct, sys, time
sys.path[:0] = sys.argv[1:3]
from harness.attack import GET_MAPPED, MAP_ARENA, Peer, names, space
class Silo: unix = sys.argv[3]
peer = Peer(Silo, unix=True)
peer.ask(MAP_ARENA, struct.pack("<Q", 1 << 20))
handle, hashes = peer.open(space("evil", 1 << 20, 8)).handle, names(60_000, 8)
got = 0
for _ in range(int(sys.argv[4])):
    lease, count = struct.unpack_from("<QI", peer.ask(GET_MAPPED, struct.pack("<IBI", handle, 2, len(hashes)) + b"".join(hashes)))
    got += lease != 0
peer.close()
print(got, flush=True)
time.sleep(1000)
"""


def test_leases_on_shared_memory_of_a_process_that_is_killed(silo):
    hashes = names(60_000, 8)
    with Peer(silo) as peer:
        assert all(outcome.is_stored for outcome in
                   peer.open(space("evil", MIB, 8)).put(hashes, [content(name, MIB) for name in hashes]))
    tests = Path(__file__).resolve().parent
    reader = subprocess.Popen([sys.executable, "-c", READER, str(tests), str(tests.parent), silo.unix, str(some(200, 10_000))],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert int(reader.stdout.readline()) > 0
        assert figures(silo)["leasedBlocks"] > 0  # of the process, not of the connection
    finally:
        reader.kill()
        reader.wait()
    comes_back(silo, "leases end with their process", lambda store: not store["leasedBlocks"])


def test_answers_that_nobody_reads(silo):
    hashes = names(70_000, 2)
    with Peer(silo) as peer:
        assert all(outcome.is_stored for outcome in peer.open(BIG).put(hashes, [content(name, 8 * MIB) for name in hashes]))
    peers = []
    for i in range(some(30, 200)):
        try:
            peers.append(Peer(silo))
            handle = peers[-1].open(BIG).handle
            get = struct.pack("<IBIII", handle, 1, 0, 32, len(hashes)) + b"".join(hashes)
            peers[-1].send(b"".join(frame(GET, get, request_id=100 + k) for k in range(20)))
        except KvCacheError:
            break
    try:
        assert len(peers) > 8
        comes_back(silo, "who does not read is cut off", lambda store: not store["leasedBlocks"])
    finally:
        for peer in peers:
            peer.close()


def test_pins_for_ever(silo):
    own, pinned = space("evil", MIB, 8), 0
    with Peer(silo) as peer:
        mine = peer.open(own)
        for name in names(80_000, 64):
            mine.put([name], [content(name, MIB)])
            pinned += mine.pin([name], 0xFFFFFFFF)
        assert 0 < pinned < 32
        assert figures(silo)["pinnedBytes"] <= PART
        assert mine.delete(names(80_000, 64)).deleted >= pinned
    assert figures(silo)["pinnedBytes"] == 0


def test_values_that_are_announced_at_the_redis_and_lmcache_endpoints(silo):
    before, sockets = figures(silo)["arenaUsedBytes"], []
    for i in range(20):
        sockets.append(Resp(silo, "evil").socket)
        sockets[-1].sendall(b"*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$33554432\r\nabc" % (i % 10))
        sockets.append(stranger(silo, "lm"))
        sockets[-1].sendall(lm_put(b"k%d" % i, 32 * MIB) + b"abc")
    assert figures(silo)["arenaUsedBytes"] <= before + PART
    for connection in sockets:
        connection.close()


def test_requests_without_end(silo):
    """Connections that ask as fast as they can."""
    stopping, asked = threading.Event(), [0]

    def ask() -> None:
        with Peer(silo) as peer:
            handle, hashes = peer.open(space("evil")).handle, names(90_000, 4000)
            while not stopping.is_set():
                peer.ask(MATCH, struct.pack("<IIII", 0, 1, handle, len(hashes)) + b"".join(hashes))
                asked[0] += 1
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(some(2, 20))
    stopping.set()
    for thread in threads:
        thread.join(60)
    assert asked[0] > 0


def _over_http(silo, tenant, head, more=b""):
    """A request over a connection that stays open, and the status of its answer; none is waited for where ``more`` is announced."""
    connection = socket.create_connection(door(silo, "http"), 20)
    connection.sendall(b"%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n%s\r\n" % (head, SECRETS[tenant].encode(), more))
    return connection, (0 if more else int(connection.recv(16).split()[1]))


def test_http_connections_of_a_tenant_leave_places_to_others(silo):
    """A tenant without a share has its part of KvCache:Http:MaxConnections (512), however many it opens."""
    connections, statuses = zip(*(_over_http(silo, "evil", b"GET /v1/stats") for _ in range(200)))
    try:
        assert 8 <= statuses.count(200) <= 512 * 0.3, statuses.count(200)
        assert set(statuses) == {200, 503}
        assert http(silo, "/v1/stats", SECRETS["good"])[0] == 200
        assert http(silo, "/metrics", SCRAPER)[0] == 200
    finally:
        for connection in connections:
            connection.close()
    eventually("its own places come back", lambda: http(silo, "/v1/stats", SECRETS["evil"])[0] == 200)


def test_http_requests_that_do_not_end_leave_places_to_others(silo):
    """Sent without a body: a tenant without a share has its part of KvCache:Http:MaxRequests (128)."""
    namespace = base64.urlsafe_b64encode(space("evil").encode()).rstrip(b"=")
    connections = [_over_http(silo, "evil", b"PUT /v1/blocks/%s/%s" % (namespace, name.hex().encode()), b"Content-Length: %d\r\n" % (64 * KIB))[0]
                   for name in names(95_000, 140)]
    try:
        eventually("it has all of its part", lambda: http(silo, "/v1/stats", SECRETS["evil"])[0] == 503)
        assert http(silo, "/v1/stats", SECRETS["good"])[0] == 200
    finally:
        for connection in connections:
            connection.close()
    eventually("its own places come back", lambda: http(silo, "/v1/stats", SECRETS["evil"])[0] == 200)
