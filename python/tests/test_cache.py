"""The cache against silos in this process: failures, failover, several silos. Every call is a value, none raises."""
import os
import random
import socket
import struct
import threading
import time
from dataclasses import replace

import pytest

from harness.fake_silo import GET, HINT, LOCATE, MATCH, OPEN, PUT, FakeSilo, frame
from harness.silos import eventually
from kvcache import (Cache, CacheOptions, DataType, Hint, Location, Namespace, OpaqueLayout, Outcome, Silo, StructuredLayout,
                     prefix_chain)
from kvcache.plan import join_locations

LAYOUT = StructuredLayout(16, 3, 2, 8, DataType.FLOAT16)
BLOCK = LAYOUT.layer_ends[-1]
SPACE = Namespace("m", LAYOUT)
HASHES = prefix_chain(range(8 * 16), 16)
BLOCKS = [bytes([i + 1]) * BLOCK for i in range(8)]
#: Deadlines that only a hang reaches.
PATIENT = CacheOptions(match_timeout=20, load_timeout=20, store_timeout=20, breaker_delay=0.05)


def cache_of(*silos, **options) -> Cache:
    endpoints = [silo if isinstance(silo, str) else silo.endpoint for silo in silos]
    return Cache(endpoints, options=replace(PATIENT, **options))


def buffers(count: int = 8):
    return [bytearray(BLOCK) for _ in range(count)]


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "tcp:127.0.0.1:%d" % listener.getsockname()[1]


def test_round_trip():
    with FakeSilo() as silo, cache_of(silo) as cache:
        assert cache.match(SPACE, HASHES).count == 0
        assert cache.put(SPACE, HASHES, BLOCKS, copies=2, persisted=True, ttl_seconds=9) == [Outcome.STORED] * 8
        assert cache.match(SPACE, HASHES).count == 8
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [True] * 8
        assert targets == BLOCKS
        assert silo.puts[0]["copies"] == 2 and silo.puts[0]["flags"] == 1 and silo.puts[0]["ttl"] == 9000
        assert cache.statistics.failed_calls == 0 and cache.statistics.read_bytes == 8 * BLOCK


def test_blocks_in_pieces():
    space = Namespace("pieces", OpaqueLayout(16, (5, 12)))
    with FakeSilo() as silo, cache_of(silo) as cache:
        assert cache.put(space, HASHES[:1], [[b"abc", b"defgh", bytearray(b"ijkl")]]) == [Outcome.STORED]
        target = [bytearray(1), bytearray(9), bytearray(2)]
        assert cache.get(space, HASHES[:1], [target]) == [True]
        assert target == [b"a", b"bcdefghij", b"kl"]


def test_lives_travel_in_milliseconds_and_stored_blocks_get_the_new_one():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES[:4], BLOCKS[:4], ttl_seconds=0.3)
        assert silo.puts[0]["ttl"] == 300 and not silo.lives
        cache.put(SPACE, HASHES, BLOCKS, ttl_seconds=2)
        assert silo.lives == [2000], "of the four that were stored"
        cache.put(SPACE, HASHES, BLOCKS, ttl_seconds=3, refresh_life=False)
        cache.put(SPACE, HASHES, BLOCKS)
        assert silo.lives == [2000]
        assert cache.expire(SPACE, HASHES, 0.0001) == 8 and silo.lives[-1] == 1
        assert cache.clear(SPACE) == (8, True) and cache.match(SPACE, HASHES).count == 0


def test_numpy_and_torch_without_copies():
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    source = torch.arange(BLOCK // 2, dtype=torch.int16).view(torch.bfloat16)
    with FakeSilo() as silo, cache_of(silo) as cache:
        assert cache.put(SPACE, HASHES[:1], [source]) == [Outcome.STORED]
        tensor, array = torch.zeros(BLOCK // 2, dtype=torch.bfloat16), numpy.zeros(BLOCK // 4, dtype=numpy.float32)
        assert cache.get(SPACE, HASHES[:1], [tensor]) == [True]
        assert cache.get(SPACE, HASHES[:1], [array]) == [True]
        assert torch.equal(tensor.view(torch.int16), source.view(torch.int16))
        assert array.tobytes() == source.view(torch.int16).numpy().tobytes()
        with pytest.raises(ValueError, match="gaps"):
            cache.get(SPACE, HASHES[:1], [torch.zeros(2, BLOCK // 2, dtype=torch.bfloat16).t()])


def test_only_what_is_missing_is_sent():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES[:3], BLOCKS[:3])
        outcomes = cache.put(SPACE, HASHES, BLOCKS, depth=4, previous=bytes(range(32)))
        assert outcomes == [Outcome.ALREADY_STORED] * 3 + [Outcome.STORED] * 5
        assert silo.puts[-1]["hashes"] == HASHES[3:] and silo.puts[-1]["depth"] == 7
        assert silo.puts[-1]["previous"] == HASHES[2]


def test_rank_group_is_as_complete_as_its_worst_rank():
    ranks = [Namespace("m", LAYOUT, tp_rank=rank, tp_size=3) for rank in range(3)]
    with FakeSilo() as silo, cache_of(silo) as cache:
        for rank, count in zip(ranks, (8, 5, 6)):
            cache.put(rank, HASHES[:count], BLOCKS[:count])
        assert cache.match(ranks, HASHES).count == 5


def test_hold_is_released_on_its_connection():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        found = cache.match(SPACE, HASHES, hold_ms=1000)
        found.release()
        found.release()
        assert found.hold_ms == 1000 and silo.released == [7]


def test_nobody_listens():
    with cache_of(closed_port(), closed_port(), breaker_delay=60) as cache:
        for _ in range(5):
            assert cache.match(SPACE, HASHES).count == 0
            assert cache.get(SPACE, HASHES, buffers()) == [False] * 8
            assert cache.put(SPACE, HASHES, BLOCKS) == [Outcome.FAILED] * 8
            assert cache.locate(SPACE, HASHES) is None and cache.stat() is None
        began = time.monotonic()
        for _ in range(1000):
            cache.match(SPACE, HASHES)
        assert time.monotonic() - began < 2, "an open breaker does not even try to connect"
        assert "left alone" in cache.statistics.last_failure


def test_only_the_first_call_waits_longer_than_others():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = CacheOptions(match_timeout=0.01, first_match_timeout=0.4, breaker_failures=1000)
        with Cache(f"tcp:127.0.0.1:{silent.getsockname()[1]}", options=options) as cache:
            waits = []
            for _ in range(20):
                began = time.monotonic()
                assert cache.match(SPACE, HASHES).count == 0
                waits.append(time.monotonic() - began)
    assert waits[0] >= 0.4 > min(waits[1:])


def test_warmed_up_cache_needs_no_connection_for_its_first_call():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.warm_up()
        deadline = time.monotonic() + 20
        while silo.accepted < 2:
            assert time.monotonic() < deadline
        assert cache.match(SPACE, HASHES).count == 0
        assert silo.accepted == 2


def test_silo_that_hangs_costs_a_deadline_and_then_nothing():
    hang = threading.Event()
    with FakeSilo() as silo, cache_of(silo, match_timeout=0.1, breaker_failures=2, breaker_delay=60) as cache:
        silo.before = lambda kind: hang.wait(20) and None
        began = time.monotonic()
        for _ in range(50):
            assert cache.match(SPACE, HASHES).count == 0
        assert time.monotonic() - began < 5
        hang.set()


def test_breaker_closes_when_the_silo_is_back():
    with FakeSilo() as silo:
        endpoint, port = silo.endpoint, silo.port
    with cache_of(endpoint, breaker_failures=1, breaker_delay=0.01) as cache:
        assert cache.match(SPACE, HASHES).count == 0
        with FakeSilo(port=port) as silo:
            deadline = time.monotonic() + 20
            while cache.put(SPACE, HASHES, BLOCKS)[0] != Outcome.STORED:
                assert time.monotonic() < deadline


def test_restart_is_not_even_noticed():
    with FakeSilo() as silo:
        port = silo.port
        cache = cache_of(silo)
        cache.put(SPACE, HASHES, BLOCKS)
        blocks = silo.blocks
    with FakeSilo(port=port) as silo, cache:
        silo.blocks = blocks
        assert cache.match(SPACE, HASHES).count == 8
        assert cache.get(SPACE, HASHES, buffers()) == [True] * 8
        assert silo.count(OPEN) == 2, "the namespace is opened again on each new connection"
        assert cache.statistics.failed_calls == 0


def test_failover_to_the_next_endpoint():
    with FakeSilo() as silo, cache_of(closed_port(), silo) as cache:
        assert cache.put(SPACE, HASHES, BLOCKS) == [Outcome.STORED] * 8
        assert cache.get(SPACE, HASHES, buffers()) == [True] * 8


def test_failover_from_an_endpoint_that_hangs_within_the_same_call():
    hang = threading.Event()
    with FakeSilo() as first, FakeSilo() as second, cache_of(first, second, match_timeout=2) as cache:
        first.before = lambda kind: hang.wait(20) and None
        second.blocks = {(SPACE.id, h): b for h, b in zip(HASHES, BLOCKS)}
        assert cache.match(SPACE, HASHES).count == 8
        hang.set()


def test_what_arrived_before_a_failure_counts():
    seen = []
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        silo.break_after = 3
        targets = buffers()
        # The connection breaks twice: the second attempt asks only for what is missing.
        assert cache.get(SPACE, HASHES, targets, arrived=seen.append) == [True] * 6 + [False] * 2
        assert targets[:6] == BLOCKS[:6] and seen == [0, 1, 2, 3, 4, 5]


def test_connection_that_breaks_when_everything_has_arrived():
    with FakeSilo() as silo, FakeSilo() as other, cache_of(silo, other) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        cache.get(SPACE, HASHES[:1], buffers(1))
        silo.breaks_at_end = True
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [True] * 8 and targets == BLOCKS
        assert other.count(GET) == 0


def test_damaged_block_is_a_miss():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        silo.damages = 2
        assert cache.get(SPACE, HASHES[:4], buffers(4)) == [True, True, False, True]


def test_misses_in_the_middle():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        del silo.blocks[SPACE.id, HASHES[2]]
        assert cache.get(SPACE, HASHES, buffers()) == [True, True] + [False] * 6
        assert cache.get(SPACE, HASHES, buffers(), past_misses=True) == [True, True, False] + [True] * 5
        assert silo.count(GET) == 2


@pytest.mark.parametrize("garbage", [b"", b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100), os.urandom(4096), bytes(32),
                                     lambda number: frame(0x84, b"short", request_id=number),
                                     lambda number: frame(0x8C, bytes(5), request_id=number),
                                     lambda number: frame(0x84, struct.pack("<IQI", 9999, 0, 0), request_id=number),
                                     lambda number: frame(0x84, struct.pack("<IQI", 8, 0, 0), request_id=number + 1)])
def test_silo_that_lies(garbage):
    with FakeSilo() as silo, cache_of(silo) as cache:
        if callable(garbage):
            silo.mangles = lambda kind, number: garbage(number)
        else:
            silo.before = lambda kind: garbage
        assert cache.match(SPACE, HASHES).count == 0
        assert cache.get(SPACE, HASHES, buffers()) == [False] * 8
        assert cache.put(SPACE, HASHES, BLOCKS) == [Outcome.FAILED] * 8
        assert cache.locate(SPACE, HASHES) is None


def test_silo_that_answers_anything():
    """Frames of the right form with contents at random: whatever they say, the calls return."""
    chance = random.Random(1)

    def mangled(kind: int, request_id: int) -> bytes:
        meta = bytearray(chance.randbytes(chance.choice([0, 1, 4, 5, 9, 13, 16, 20, 30, 60])))
        if len(meta) >= 5 and chance.random() < 0.7:
            meta[:5] = struct.pack("<IB", chance.choice([0, 1, 3, 8, 9]), chance.choice([0, 1, 2]))
        answer = chance.choice([kind | 0x80] * 6 + [0xA5, 0xFF])
        payload = chance.randbytes(chance.choice([0, BLOCK])) if answer == 0x85 else b""
        status = chance.choice([0, 0, 0, 1, 16, 22, 23, 99]) if answer in (0xFF, 0x85) else 0
        return frame(answer, bytes(meta), payload, chance.choice([request_id] * 9 + [0]), status)
    with FakeSilo() as silo, cache_of(silo, breaker_failures=1 << 30, match_timeout=0.05, load_timeout=0.05,
                                      store_timeout=0.05, locate_bytes=1) as cache:
        silo.mangles = mangled
        for _ in range(150):
            cache.match(SPACE, HASHES, hold_ms=10).release()
            cache.get(SPACE, HASHES, buffers(), past_misses=True)
            cache.put(SPACE, HASHES, BLOCKS)
            cache.locate(SPACE, HASHES)
            cache.delete(SPACE, HASHES)
        assert cache.statistics.failed_calls > 100 and cache.statistics.last_failure.isprintable()


def test_a_silo_that_leaves_is_asked_after_the_others():
    with FakeSilo() as leaves, FakeSilo() as stays, cache_of(leaves, stays) as cache:
        assert cache.put(SPACE, HASHES[:1], BLOCKS[:1]) == [Outcome.STORED] and len(leaves.blocks) == 1
        leaves.fields = struct.pack("<HHI", 2, 0, 0) + bytes(8)
        cache.match(SPACE, HASHES[:1])
        assert cache.put(SPACE, HASHES[1:2], BLOCKS[1:2]) == [Outcome.STORED]
        assert (len(leaves.blocks), len(stays.blocks)) == (1, 1)


def test_secret_is_exchanged_without_a_restart(tmp_path, caplog):
    file = tmp_path / "secret"
    file.write_text("old\n")
    with FakeSilo(secret=b"old") as silo, cache_of(silo, secret_file=str(file)) as cache:
        assert cache.put(SPACE, HASHES[:1], BLOCKS[:1]) == [Outcome.STORED]
        silo.secret = b"new"
        assert cache.match(SPACE, HASHES[:1]).count == 1  # the connection is open
        silo.break_connections()
        eventually("the old secret is refused", lambda: cache.match(SPACE, HASHES[:1]).count == 0)
        file.write_text("\n new \nold\n")
        eventually("the new one is read", lambda: cache.match(SPACE, HASHES[:1]).count == 1)
        file.unlink()
        os.mkfifo(file)
        silo.break_connections()
        eventually("what was read before stays", lambda: cache.match(SPACE, HASHES[:1]).count == 1)
        assert [line.levelname for line in caplog.records if "is a FIFO" in line.message] == ["ERROR"]
    with pytest.raises(ValueError, match="secret_file"):
        CacheOptions(secret_file=str(file))
    with pytest.raises(ValueError, match="both"):
        CacheOptions(secret=b"x", secret_file=__file__)


def test_wrong_secret_is_a_miss():
    with FakeSilo(secret=b"right") as silo, cache_of(silo) as cache:
        assert cache.match(SPACE, HASHES).count == 0
        assert cache.statistics.last_failure == f"tenant default: {silo.endpoint} refused it: The tenant or its secret is wrong."


def test_wrong_arguments_are_the_callers_mistake():
    with FakeSilo() as silo, cache_of(silo) as cache:
        for call in (lambda: cache.get(SPACE, HASHES, buffers(7)), lambda: cache.get(SPACE, HASHES[:1], [bytes(BLOCK)]),
                     lambda: cache.put(SPACE, HASHES[:1], [b"short"]), lambda: cache.match(SPACE, [b"short"])):
            with pytest.raises(ValueError):
                call()
        for seconds in (-1, float("nan"), 1 << 53):
            with pytest.raises(ValueError, match="0 seconds or more"):
                cache.put(SPACE, HASHES, BLOCKS, ttl_seconds=seconds)
            with pytest.raises(ValueError, match="0 seconds or more"):
                cache.expire(SPACE, HASHES, seconds)
        for numbers in ({"copies": 256}, {"depth": -1}, {"request_id": 1 << 64}):
            with pytest.raises(ValueError, match=f"{next(iter(numbers))}: .* was expected"):
                cache.put(SPACE, HASHES, BLOCKS, **numbers)
    for settings in ({"endpoints": "nowhere"}, {"endpoints": ""}, {"load_timeout": 0}, {"colour": "red"}, {"secret_env": "NOT_SET"}):
        with pytest.raises(ValueError):
            CacheOptions.from_mapping(settings)


def test_refused_blocks_go_where_the_refusal_points_once():
    with FakeSilo() as full, FakeSilo() as roomy, cache_of(full) as cache:
        cache.put(SPACE, HASHES[2:3], BLOCKS[2:3])
        full.full, full.alternatives = True, ("unix:/nowhere.sock", "tcp:nonsense", roomy.endpoint)
        outcomes = cache.put(SPACE, HASHES[:5], BLOCKS[:5], depth=0)
        assert outcomes == [Outcome.STORED] * 2 + [Outcome.ALREADY_STORED] + [Outcome.STORED] * 2
        assert [put["depth"] for put in roomy.puts] == [0, 3]
        assert [put["previous"] for put in roomy.puts] == [bytes(32), HASHES[2]]
        roomy.full, roomy.alternatives = True, (full.endpoint,)
        assert cache.put(SPACE, HASHES[5:], BLOCKS[5:], depth=5) == [Outcome.NO_MEMORY] * 3


def test_blocks_are_read_from_the_silos_that_have_them():
    with FakeSilo() as mine, FakeSilo() as other, FakeSilo() as third, cache_of(mine, locate_bytes=1) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        everything = mine.blocks
        for silo, kept in ((mine, (0, 1, 7)), (other, (2, 3, 4)), (third, (3, 4, 5, 6))):
            silo.blocks = {(SPACE.id, HASHES[i]): BLOCKS[i] for i in kept}
        mine.silos = ((0, ("tcp:nonsense", other.endpoint)), (1, ()), (0, (third.endpoint,)))
        mine.holders = dict(zip(HASHES, (2, 2, 1, 5, 5, 4, 4, 2 | 1 << 63)))
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [True] * 8
        assert targets == BLOCKS
        assert (mine.count(GET), other.count(GET), third.count(GET)) == (1, 1, 1)
        assert len(everything) == 8


def test_index_that_is_wrong_costs_nothing_but_time():
    with FakeSilo() as mine, FakeSilo() as other, cache_of(mine, locate_bytes=1) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        mine.silos = ((1, ()), (0, (other.endpoint,)), (0, (closed_port(),)), (0, ("unix:/some/where",)))
        mine.holders = dict(zip(HASHES, (1, 2, 4, 8, 2, 4, 1 << 63, 1)))
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [True] * 8
        assert targets == BLOCKS


def test_nothing_writes_the_callers_memory_after_a_deadline():
    hang = threading.Event()
    with FakeSilo() as mine, FakeSilo() as other, cache_of(mine, locate_bytes=1, load_timeout=0.5) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        other.blocks = dict(mine.blocks)
        mine.silos = ((1, ()), (0, (other.endpoint,)))
        mine.holders = dict(zip(HASHES, (1, 2) * 4))
        for silo in (mine, other):
            silo.before = lambda kind: hang.wait(20) and None if kind == GET else None
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [False] * 8
        for target in targets:
            target[:] = b"\xee" * BLOCK
        hang.set()
        other.stop()
        mine.stop()
        assert targets == [b"\xee" * BLOCK] * 8


def test_what_is_over_the_limits_of_a_request_goes_in_parts():
    space = Namespace("tiny", OpaqueLayout(1, (1,)))
    hashes = prefix_chain(range(250), 1)
    blocks = [bytes([i]) for i in range(250)]
    with FakeSilo() as silo, FakeSilo() as other, cache_of(silo, locate_bytes=1) as cache:
        silo.max_blocks = other.max_blocks = 100
        assert cache.put(space, hashes, blocks) == [Outcome.STORED] * 250
        assert cache.match(space, hashes).count == 250
        other.blocks = dict(silo.blocks)
        silo.silos = ((1, ()), (0, (other.endpoint,)))
        silo.holders = {name: 2 - i // 200 for i, name in enumerate(hashes)}  # the first two parts are at the other one
        targets = [bytearray(1) for _ in hashes]
        assert cache.get(space, hashes, targets) == [True] * 250 and targets == blocks
        assert (other.count(GET), silo.count(GET)) == (2, 1) and all(silo.is_read)
        silo.is_read.clear()
        assert len(cache.locate(space, hashes).holders) == 250 and len(cache.locate(space, hashes).silos) == 2
        assert silo.is_read and not any(silo.is_read)
        assert cache.locate(space, []).holders == ()
        del silo.blocks[space.id, hashes[130]]
        assert cache.match(space, hashes).count == 130
        assert cache.delete(space, hashes) == (249, True) and not silo.blocks
        assert cache.statistics.failed_calls == 0


def test_answers_about_parts_of_a_chain_number_the_silos_anew():
    here, there = Silo(True, ()), Silo(False, ("tcp:1.2.3.4:5",))
    both = join_locations([Location((here, there), (1, 2, 3)), Location((there,), (1, 1 << 63)), Location((there, here), (2, 1 | 1 << 63))])
    assert both == Location((here, there), (1, 2, 3, 2, 1 << 63, 1, 2 | 1 << 63))
    many = join_locations([Location(tuple(Silo(False, (f"tcp:h:{part * 40 + i}",)) for i in range(40)), (1, 1 << 39)) for part in range(2)])
    assert len(many.silos) == 63 and many.holders == (1, 1 << 39, 1 << 40, 0), "a silo that has no bit holds nothing"


def test_ranks_and_namespaces_up_to_the_limit_of_a_connection():
    def ranks(model: str):
        return [Namespace(model, LAYOUT, tp_rank=rank, tp_size=512) for rank in range(512)]
    with FakeSilo() as silo, cache_of(silo) as cache:
        for model in "abc":
            silo.blocks.update({(rank.id, name): b"" for rank in ranks(model) for name in HASHES[:7 if rank.tp_rank == 500 else 8]})
            found = cache.match(ranks(model), HASHES, hold_ms=1000)
            assert found.count == 7 and found.hold_ms == 1000
            found.release(20)
        assert len(silo.released) == 3 and cache.statistics.failed_calls == 0
        with pytest.raises(ValueError, match="512 namespaces"):
            cache.match([*ranks("a"), SPACE], HASHES)


def test_holds_of_all_parts_of_a_chain_end_with_it():
    with FakeSilo() as silo, cache_of(silo) as cache:
        silo.max_blocks = 3
        cache.put(SPACE, HASHES, BLOCKS)
        found = cache.match(SPACE, HASHES, hold_ms=1000)
        assert (found.count, found.hold_ms) == (8, 1000)
        found.release(20)
        assert len(silo.released) == 3


def test_several_threads():
    wrong = []
    with FakeSilo() as silo, cache_of(silo, connections=2) as cache:
        cache.put(SPACE, HASHES, BLOCKS)

        def read():
            for _ in range(20):
                targets = buffers()
                if cache.get(SPACE, HASHES, targets) != [True] * 8 or targets != BLOCKS:
                    wrong.append(cache.statistics.last_failure)
        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert silo.accepted <= 2 + 2, "at most the configured connections"


def test_closed_cache_is_a_miss():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        cache.close()
        assert cache.match(SPACE, HASHES).count == 0 and cache.get(SPACE, HASHES, buffers()) == [False] * 8


def test_two_tenants_never_meet():
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(Namespace("m", LAYOUT, tenant="one"), HASHES, BLOCKS)
        assert cache.match(Namespace("m", LAYOUT, tenant="two"), HASHES).count == 0


def test_constants_are_those_of_the_document():
    assert (MATCH, GET, PUT, LOCATE) == (4, 5, 6, 12)


def test_hints_come_after_the_answer_and_with_every_call():
    ended = Hint(end="tool_call", retention_seconds=300)
    with FakeSilo() as silo, cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS, hint=Hint(priority=80, kind="document"))
        assert silo.hints == [(PUT, 0, 80, 2, 0)], "not with the match that a put begins with"
        assert cache.get(SPACE, HASHES, buffers(), hint=ended) == [True] * 8
        assert cache.match(SPACE, HASHES, hint=ended).count == 8
        cache.hint(SPACE, HASHES, ended)
        cache.hint(SPACE, [], ended)
        assert silo.hints[1:] == [(GET, 1, 255, 0, 300_000), (MATCH, 1, 255, 0, 300_000), (HINT, 1, 255, 0, 300_000)]
        assert cache.statistics.failed_calls == 0
    with FakeSilo() as silo:
        silo.max_blocks = 3
        with cache_of(silo) as cache:
            cache.hint(SPACE, HASHES, ended)
            assert silo.hints == [(HINT, 1, 255, 0, 300_000)], "the end of the chain is enough"


def test_a_hint_that_nobody_hears_is_nothing():
    with cache_of(closed_port(), match_timeout=0.3, first_match_timeout=0.3) as cache:
        cache.hint(SPACE, HASHES, Hint(end="one_shot"))


def test_hints_have_bounds_and_engines_words():
    for wrong in ({"end": "soon"}, {"kind": "poem"}, {"priority": 101}, {"priority": -1}, {"retention_seconds": -1}):
        with pytest.raises(ValueError):
            Hint(**wrong)
    assert Hint.of_cache_control() == Hint(retention_seconds=300) and Hint.of_cache_control("1h") == Hint(retention_seconds=3600)
    with pytest.raises(ValueError):
        Hint.of_cache_control("2h")
    assert Hint.of_engine() is None and Hint.of_engine(120, -1) == Hint(priority=100)
    envelope = {"protocol_version": "0.1", "actions": [
        {"action_type": "vllm.set_priority", "payload": {"value": 70, "ttl_seconds": 60}},
        {"action_type": "kv.share", "payload": None}]}
    assert Hint.of_kv_hints(envelope) == Hint(priority=70, retention_seconds=60)
    envelope["actions"] = [{"action_type": "kv.retain", "payload": {"directives": [
        {"start": 0, "end": 512, "priority": 90, "duration": 30}, {"covers_output": True, "priority": 40, "duration": 90}]}}]
    assert Hint.of_kv_hints(envelope) == Hint(priority=90, retention_seconds=90)
    assert Hint.of_kv_hints(None) is None and Hint.of_kv_hints({"actions": []}) is None
