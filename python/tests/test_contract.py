"""What all caches promise, over each of them: the threaded one and the ``asyncio`` one on a real silo, and the one over a plain Redis."""
import importlib.util
import json
import os
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest

from harness.blocking import Blocking
from harness.fake_silo import FakeSilo
from harness.redis_server import RedisServer
from harness.silos import eventually
from kvcache import (AsyncCache, Cache, CacheOptions, Capabilities, DataType, Deadline, Hint, Namespace, Outcome, RedisCache, RedisOptions,
                     StructuredLayout, Tensor, TextCache, prefix_chain)

ENDPOINT = os.environ.get("KVCACHE_ENDPOINT", "")
TENANT, SECRET = os.environ.get("KVCACHE_TENANT", "default"), os.environ.get("KVCACHE_SECRET", "")
LAYOUT = StructuredLayout(16, 3, 2, 8, DataType.FLOAT16)
BLOCK, LAYER = LAYOUT.layer_ends[-1], LAYOUT.layer_ends[0]
HASHES = prefix_chain(range(8 * 16), 16)
BLOCKS = [bytes([i + 1]) * BLOCK for i in range(8)]
ALL = ~Capabilities.NONE


@pytest.fixture(scope="module")
def redis():
    if importlib.util.find_spec("redis") is None or shutil.which("redis-server") is None:
        pytest.skip("redis-py or redis-server is not installed")
    with RedisServer() as server:
        yield server


class World:
    """Makes the caches of one kind."""

    def __init__(self, kind: str, request):
        self.kind = kind
        self.redis = request.getfixturevalue("redis") if kind == "redis" else None
        self.capabilities = Capabilities.DURABILITY if kind == "redis" else ALL
        if kind != "redis" and not ENDPOINT:
            pytest.skip("KVCACHE_ENDPOINT is not set: no silo to test against")

    def cache(self, address: str = ""):
        # Deadlines that only a hang reaches, unless nobody is there.
        if self.redis is not None:
            long = {"match_timeout": 5.0} if address else {"match_timeout": 60.0, "load_timeout": 60.0, "store_timeout": 60.0}
            return RedisCache(address.replace("tcp:", "redis://") or self.redis.url, TENANT, RedisOptions(**long))
        long = {"match_timeout": 5.0} if address else {"match_timeout": 60.0, "load_timeout": 60.0, "store_timeout": 60.0, "connect_timeout": 60.0}
        return self.wrapped(Cache(address or ENDPOINT, TENANT, SECRET.encode(), CacheOptions(**long)))

    def wrapped(self, cache):
        return Blocking(AsyncCache(cache)) if self.kind == "asyncio" else cache


@pytest.fixture(scope="module", params=["silo", "asyncio", "redis"])
def world(request):
    return World(request.param, request)


@pytest.fixture
def cache(world):
    with world.cache() as cache:
        yield cache


@pytest.fixture
def space():
    return Namespace("contract", LAYOUT, TENANT, salt=os.urandom(8).hex())


def buffers(count: int = 8, size: int = BLOCK):
    return [bytearray(size) for _ in range(count)]


def test_what_is_stored_is_found_and_read_and_the_rest_is_missed(cache, space):
    assert cache.match(space, HASHES).count == 0
    assert cache.get(space, HASHES, buffers()) == [False] * 8
    assert cache.put(space, HASHES[:5], BLOCKS[:5]) == [Outcome.STORED] * 5
    assert cache.put(space, HASHES[:5], BLOCKS[:5], only_missing=False) == [Outcome.ALREADY_STORED] * 5
    assert cache.match(space, HASHES).count == 5
    targets, arrived = buffers(), []
    assert cache.get(space, HASHES, targets, arrived=arrived.append) == [True] * 5 + [False] * 3
    assert targets[:5] == BLOCKS[:5] and arrived == list(range(5))
    assert cache.match(space, []).count == 0 and cache.get(space, [], []) == [] and cache.put(space, [], []) == []


def test_some_layers_are_read_and_blocks_lie_in_pieces(cache, space):
    block = bytes(range(256)) * (BLOCK // 256)
    assert cache.put(space, HASHES[:1], [[block[:100], bytearray(block[100:])]]) == [Outcome.STORED]
    layers = buffers(1, 2 * LAYER)
    assert cache.get(space, HASHES[:1], layers, first_layer=1, layers=2) == [True] and layers[0] == block[LAYER:]
    pieces = [bytearray(7), bytearray(BLOCK - 7)]
    assert cache.get(space, HASHES[:1], [pieces]) == [True] and b"".join(pieces) == block


def test_what_lies_behind_a_gap_is_read_where_it_is_wanted(cache, space):
    cache.put(space, HASHES, BLOCKS)
    assert cache.delete(space, HASHES[2:3]) == (1, True)
    assert cache.match(space, HASHES).count == 2
    assert cache.get(space, HASHES, buffers(), past_misses=True) == [True] * 2 + [False] + [True] * 5


def test_every_rank_counts(cache, space):
    ranks = [Namespace("contract", LAYOUT, TENANT, salt=space.salt, tp_rank=rank, tp_size=3) for rank in range(3)]
    for rank, count in zip(ranks, (8, 5, 6)):
        cache.put(rank, HASHES[:count], BLOCKS[:count])
    assert cache.match(ranks, HASHES).count == 5
    assert cache.match([], HASHES).count == 0


def test_lives_end_and_the_latest_store_says_when(cache, space):
    assert cache.put(space, HASHES[:2], BLOCKS[:2], ttl_seconds=0.2) == [Outcome.STORED] * 2
    eventually("a life of 0.2 s ends", lambda: cache.match(space, HASHES).count == 0)
    cache.put(space, HASHES, BLOCKS)
    cache.put(space, HASHES[:3], BLOCKS[:3], ttl_seconds=0.2, refresh_life=False)
    cache.put(space, HASHES[4:6], BLOCKS[4:6], previous=HASHES[3], depth=4, ttl_seconds=0.2)
    eventually("the blocks with the new life go", lambda: cache.match(space, HASHES).count == 4)
    assert cache.get(space, HASHES, buffers(), past_misses=True) == [True] * 4 + [False] * 2 + [True] * 2


def test_lives_are_set_without_a_store(cache, space):
    cache.put(space, HASHES, BLOCKS, ttl_seconds=60)
    assert cache.expire(space, HASHES[:2], 0) == 2
    assert cache.expire(space, HASHES[2:], 0.1) == 6
    eventually("they end", lambda: cache.match(space, HASHES).count == 2)
    assert cache.expire(space, HASHES[2:], 1) == 0


def test_a_namespace_is_cleared_and_no_other(cache, space):
    other = Namespace("contract", LAYOUT, TENANT, salt="other" + space.salt)
    for each in (space, other):
        cache.put(each, HASHES, BLOCKS)
    assert cache.clear(space) == (8, True)
    assert cache.match(space, HASHES).count == 0 and cache.match(other, HASHES).count == 8
    assert cache.delete(other, HASHES) == (8, True) and cache.delete(other, HASHES) == (0, True)


def test_what_it_cannot_do_it_says(world, cache, space):
    assert cache.capabilities == world.capabilities and cache.tenant == TENANT
    cache.put(space, HASHES, BLOCKS, copies=2, persisted=True, hint=Hint(priority=80))
    found = cache.match(space, HASHES, hold_ms=5000)
    assert found.count == 8 and (found.hold_ms > 0) == (Capabilities.HOLD in cache.capabilities)
    found.release()
    found.release()
    assert cache.pin(space, HASHES, 5) == (8 if Capabilities.PIN in cache.capabilities else 0)
    assert cache.pin(space, HASHES, 0) == (8 if Capabilities.PIN in cache.capabilities else 0)
    location = cache.locate(space, HASHES)
    assert (location is not None and len(location.holders) == 8) == (Capabilities.LOCATE in cache.capabilities)
    cache.hint(space, HASHES, Hint(end="end_of_turn"))
    assert cache.stat()


#: Every wrong call of the table in the README, by its line there.
MISUSE = {
    "a namespace that is none": lambda cache, space: cache.match("model", HASHES),
    "hashes that are no list": lambda cache, space: cache.match(space, HASHES[0]),
    "a hash that has not 32 bytes": lambda cache, space: cache.get(space, [b"abc"], buffers(1)),
    "a hash that is a text": lambda cache, space: cache.delete(space, ["a" * 32]),
    "a hold shorter than zero": lambda cache, space: cache.match(space, HASHES, hold_ms=-1),
    "targets that are no list": lambda cache, space: cache.get(space, HASHES, None),
    "another number of targets than of hashes": lambda cache, space: cache.get(space, HASHES, buffers(7)),
    "memory of another size than the layers have": lambda cache, space: cache.get(space, HASHES[:1], buffers(1, 5)),
    "memory that cannot be written": lambda cache, space: cache.get(space, HASHES[:1], BLOCKS[:1]),
    "layers that a block does not have": lambda cache, space: cache.get(space, HASHES[:1], buffers(1), first_layer=3),
    "another number of blocks than of hashes": lambda cache, space: cache.put(space, HASHES, BLOCKS[:3]),
    "a block of another size": lambda cache, space: cache.put(space, HASHES[:1], [b"abc"]),
    "a block that is no buffer": lambda cache, space: cache.put(space, HASHES[:1], [7]),
    "a previous hash that is none": lambda cache, space: cache.put(space, HASHES, BLOCKS, previous=b"abc"),
    "a depth below zero": lambda cache, space: cache.put(space, HASHES, BLOCKS, depth=-1),
    "less than 1 copy, or more than 16": lambda cache, space: cache.put(space, HASHES, BLOCKS, copies=0),
    "a life shorter than zero, in a put": lambda cache, space: cache.put(space, HASHES, BLOCKS, ttl_seconds=-1),
    "a life that is no number": lambda cache, space: cache.expire(space, HASHES, "1h"),
    "a pin shorter than zero": lambda cache, space: cache.pin(space, HASHES, -1),
    "a hint that is none": lambda cache, space: cache.hint(space, HASHES, "soon"),
    "a timeout below zero": lambda cache, space: cache.match(space, HASHES, timeout=-1),
    "a timeout that is no number": lambda cache, space: cache.put(space, HASHES, BLOCKS, timeout="soon"),
}


def misuse_of_the_readme():
    lines = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8").splitlines()
    begin, end = lines.index("| misuse | the message has |") + 2, lines.index("<!-- misuse ends -->")
    rows = [line.strip("| ").split(" | ") for line in lines[begin:end]]
    return {row[0]: row[1].strip("`") for row in rows}


def test_misuse_is_told_as_the_readme_says_whether_somebody_is_there_or_not(world, cache, space):
    said = misuse_of_the_readme()
    assert said.keys() == MISUSE.keys()
    with world.cache(closed_port()) as away:
        for name, call in MISUSE.items():
            for each in (cache, away):
                with pytest.raises(ValueError, match=re.escape(said[name])):
                    call(each, space)
    assert cache.statistics.failed_calls == 0 and cache.put(space, HASHES, BLOCKS) == [Outcome.STORED] * 8


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "tcp:127.0.0.1:%d" % listener.getsockname()[1]


def test_a_cache_that_is_away_is_a_miss_and_says_where(world, space):
    with world.cache(closed_port()) as cache:
        assert cache.match(space, HASHES).count == 0
        assert cache.get(space, HASHES, buffers()) == [False] * 8
        assert cache.put(space, HASHES, BLOCKS) == [Outcome.FAILED] * 8
        assert cache.delete(space, HASHES) == (0, False) and cache.clear(space) == (0, False)
        assert cache.expire(space, HASHES, 1) == 0 and cache.stat() is None
        assert cache.statistics.failed_calls >= 5 and "127.0.0.1:" in cache.statistics.last_failure
        assert cache.statistics.hit_rate == 0 and cache.statistics.missed_blocks == 8 and cache.statistics.refused_blocks == 8


def test_a_deadline_that_has_passed_is_a_miss(cache, space):
    cache.put(space, HASHES, BLOCKS)
    passed = Deadline(0)
    assert cache.match(space, HASHES, timeout=passed).count == 0 and cache.get(space, HASHES, buffers(), timeout=0) == [False] * 8
    assert cache.match(space, HASHES).count == 8


def test_a_closed_cache_is_a_miss_and_may_be_closed_again(world, space):
    with world.cache() as cache:
        cache.put(space, HASHES, BLOCKS)
        cache.close()
        assert cache.match(space, HASHES).count == 0 and cache.get(space, HASHES, buffers()) == [False] * 8
        assert cache.put(space, HASHES, BLOCKS) == [Outcome.FAILED] * 8 and "closed" in cache.statistics.last_failure
        cache.close()


def test_statistics_tell_hits_and_times_and_begin_anew(cache, space):
    statistics = cache.statistics
    statistics.reset()
    cache.put(space, HASHES[:6], BLOCKS[:6])
    cache.match(space, HASHES)
    cache.get(space, HASHES, buffers())
    assert (statistics.stored_blocks, statistics.matched_blocks, statistics.read_blocks, statistics.missed_blocks) == (6, 6, 6, 2)
    assert statistics.hit_rate == 0.75 and statistics.read_bytes == 6 * BLOCK and statistics.read_tokens == 96
    for latency in (statistics.match_latency, statistics.get_latency, statistics.put_latency):
        assert latency.calls == 1 and 0 < latency.p50 == latency.p95 == latency.p99 == latency.longest == latency.average
    assert statistics.time_saved(1e-3) > 90_000 and statistics.time_saved(1e12) < 0
    assert "75.0% of 8 blocks read, 6 stored" in str(statistics)
    assert json.loads(json.dumps(statistics.as_dict()))["get_latency"]["calls"] == 1
    statistics.reset()
    assert statistics.read_blocks == statistics.get_latency.calls == 0 and statistics.last_failure == ""


def test_threads_share_a_cache(cache, space):
    wrong = []

    def work(number: int) -> None:
        own = Namespace("contract", LAYOUT, TENANT, salt=space.salt, tp_rank=number, tp_size=6)
        blocks = [bytes([number * 8 + i]) * BLOCK for i in range(8)]
        for _ in range(5):
            cache.put(own, HASHES, blocks)
            targets = buffers()
            if cache.get(own, HASHES, targets) != [True] * 8 or targets != blocks or cache.match(own, HASHES).count != 8:
                wrong.append((number, cache.statistics.last_failure))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_damaged_block_is_a_miss_and_can_be_stored_again(world, cache, space):
    if world.redis is not None:
        assert cache.put(space, HASHES[:3], BLOCKS[:3]) == [Outcome.STORED] * 3
        import redis
        with redis.Redis.from_url(world.redis.url) as plain:
            key = f"kvcache.blocks:{space.id.hex()}:{HASHES[1].hex()}"
            value = bytearray(plain.get(key))
            value[-1] ^= 1
            for damage in (lambda: plain.set(key, bytes(value)), lambda: plain.delete(key) and plain.lpush(key, b"of another kind")):
                damage()
                assert cache.get(space, HASHES[:3], buffers(3), past_misses=True) == [True, False, True]
                assert cache.put(space, HASHES[:3], BLOCKS[:3], only_missing=False)[1] == Outcome.STORED
        return
    with FakeSilo() as silo, world.wrapped(Cache(silo.endpoint)) as other:  # a real one does not damage at will
        plain_space = Namespace("contract", LAYOUT)
        other.put(plain_space, HASHES[:3], BLOCKS[:3])
        silo.damages = 1
        assert other.get(plain_space, HASHES[:3], buffers(3)) == [True, False, True]
        silo.damages = None
        assert other.get(plain_space, HASHES[:3], buffers(3)) == [True] * 3


def test_a_time_without_an_end_is_a_long_one(world, cache, space):
    forever = float("inf")
    assert cache.put(space, HASHES, BLOCKS, timeout=forever) == [Outcome.STORED] * 8
    assert cache.match(space, HASHES, timeout=1e300).count == 8 and cache.get(space, HASHES, buffers(), timeout=forever) == [True] * 8
    assert cache.delete(space, HASHES, timeout=forever) == (8, True)


@pytest.mark.parametrize("settings, message", [
    ({"url": "redis://127.0.0.1/0?decode_responses=true"}, "url: decode_responses is the cache's own"),
    ({"url": "redis://127.0.0.1/0?bogus=1"}, "url: an address of a Redis was expected"),
    ({"url": "redis://127.0.0.1:99999"}, "url: an address of a Redis was expected"),
    ({"key_prefix": "\ud800"}, "key_prefix: a text of 1 to 256 bytes"),
    ({"tenant": "t" * 257}, "tenant: a text of 1 to 256 bytes"),
    ({"compression": "zstd"}, "compression: '' or 'gzip' was expected"),
])
def test_settings_of_a_redis_that_cannot_be_are_told_at_once(settings, message):
    pytest.importorskip("redis")
    with pytest.raises(ValueError, match=message):
        RedisCache(options=RedisOptions(**settings))


@pytest.mark.parametrize("settings, message", [
    ({"endpoints": [5]}, "5 is neither tcp:host:port"),
    ({"endpoints": 5}, "endpoints: a list of texts was expected"),
    ({"endpoints": ["tcp:host:0"]}, "is neither tcp:host:port"),
    ({"endpoints": ["tcp:one:1,tcp:two:2"]}, "is neither tcp:host:port"),
    ({"tenant": ""}, "tenant: a text of 1 to 256 bytes"),
    ({"tenant": "\ud800"}, "tenant: a text of 1 to 256 bytes"),
    ({"match_timeout": float("nan")}, "match_timeout: a number was expected"),
])
def test_settings_of_silos_that_cannot_be_are_told_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        Cache(options=CacheOptions(**settings))


def test_texts_go_over_every_cache(world, cache):
    # The simple calls are not coroutines: beside an asyncio cache they use the one below it.
    texts = TextCache(cache.cache if world.kind == "asyncio" else cache, "contract " + os.urandom(8).hex(), tensors="bytes")
    k, v = Tensor(DataType.FLOAT16, (2, 3), bytes(range(12))), Tensor(DataType.UINT8, (4,), b"abcd")
    assert texts.get_cached_kv("Hello", 0) is None
    assert texts.cache_kv("Hello", 0, k, v) and texts.cache_kv("Hello", 0, k, v)
    found = texts.get_cached_kv("Hello", 0)
    assert found is not None and (found.k.data_type, found.k.shape, bytes(found.k.data), bytes(found.v.data)) == (
        DataType.FLOAT16, (2, 3), bytes(range(12)), b"abcd")
    assert texts.get_cached_kv("Hello", 1) is None
    assert texts.delete_kv("Hello", 0) and texts.get_cached_kv("Hello", 0) is None
    # What was left of an older and larger one does not count.
    assert texts.cache_kv("Hello", 0, Tensor(DataType.UINT8, (5000,), bytes(5000)), v)
    assert texts.get_cached_kv("Hello", 0).k.shape == (5000,)
