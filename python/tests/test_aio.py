"""What is particular about the ``asyncio`` cache: cancellation, deadlines in the queue, the event loop. The rest is in the contract."""
import asyncio
import threading
import time

import pytest

from harness.fake_silo import GET, MATCH, FakeSilo
from kvcache import AsyncCache, Cache, CacheOptions, DataType, Deadline, Namespace, StructuredLayout, prefix_chain

LAYOUT = StructuredLayout(16, 3, 2, 8, DataType.FLOAT16)
BLOCK = LAYOUT.layer_ends[-1]
SPACE = Namespace("m", LAYOUT)
HASHES = prefix_chain(range(8 * 16), 16)
BLOCKS = [bytes([i + 1]) * BLOCK for i in range(8)]


def cache_of(silo: FakeSilo, **options) -> AsyncCache:
    return AsyncCache(Cache(silo.endpoint, options=CacheOptions(**{"match_timeout": 20.0, "load_timeout": 20.0, **options})))


def test_a_cancelled_read_leaves_the_buffers_alone_and_blames_nobody():
    asked, goes_on = threading.Event(), threading.Event()

    def hang(kind):
        if kind == GET:
            asked.set()
            goes_on.wait(30)

    async def run(silo: FakeSilo) -> None:
        async with cache_of(silo, breaker_failures=1, breaker_delay=600, load_timeout=0.5) as cache:
            await cache.put(SPACE, HASHES, BLOCKS)
            silo.before = hang
            shared, targets = Deadline(0.5), [bytearray(BLOCK) for _ in HASHES]
            read = asyncio.ensure_future(cache.get(SPACE, HASHES, targets, timeout=shared))
            await asyncio.get_running_loop().run_in_executor(None, asked.wait, 30)
            read.cancel()
            await asyncio.sleep(0)
            read.cancel()  # once more while it ends
            with pytest.raises(asyncio.CancelledError):
                await read
            for target in targets:
                target[:] = b"\xee" * BLOCK
            silo.before = None
            goes_on.set()
            assert not shared.is_cancelled, "a deadline that the caller shares is the caller's"
            assert await cache.get(SPACE, HASHES, [bytearray(BLOCK) for _ in HASHES], timeout=20) == [True] * 8, "the breaker is closed"
            assert targets == [b"\xee" * BLOCK] * 8 and cache.statistics.failed_calls == 0
    with FakeSilo() as silo:
        asyncio.run(run(silo))


def test_a_match_does_not_wait_behind_reads():
    goes_on = threading.Event()

    async def run(silo: FakeSilo) -> None:
        async with cache_of(silo) as cache:
            await cache.put(SPACE, HASHES, BLOCKS)
            silo.before = lambda kind: goes_on.wait(30) and None if kind == GET else None
            reads = [asyncio.ensure_future(cache.get(SPACE, HASHES, [bytearray(BLOCK) for _ in HASHES])) for _ in range(10)]
            async with await cache.match(SPACE, HASHES, hold_ms=1000) as found:
                assert found.count == 8 and found.hold_ms == 1000 and not any(read.done() for read in reads)
            assert silo.released == [7]
            goes_on.set()
            assert await asyncio.gather(*reads) == [[True] * 8] * 10
    with FakeSilo() as silo:
        asyncio.run(run(silo))


def test_time_in_the_queue_counts():
    goes_on = threading.Event()

    async def run(silo: FakeSilo) -> None:
        async with AsyncCache(Cache(silo.endpoint, options=CacheOptions(match_timeout=30.0)), small_threads=1) as cache:
            silo.before = lambda kind: goes_on.wait(30) and None if kind == MATCH else None
            first = asyncio.ensure_future(cache.match(SPACE, HASHES))
            deadline = Deadline(0.05)
            second = asyncio.ensure_future(cache.match(SPACE, HASHES, timeout=deadline))
            while not deadline.passed:
                await asyncio.sleep(0)
            goes_on.set()
            assert (await second).count == (await first).count == 0 and cache.statistics.last_failure == "the deadline passed"
            assert silo.count(MATCH) == 1
    with FakeSilo() as silo:
        asyncio.run(run(silo))


def test_blocks_are_told_in_the_event_loop_before_the_call_returns():
    async def run(silo: FakeSilo) -> None:
        async with cache_of(silo) as cache:
            await cache.put(SPACE, HASHES, BLOCKS)
            threads, loop_thread = set(), threading.get_ident()
            await cache.get(SPACE, HASHES, [bytearray(BLOCK) for _ in HASHES],
                            arrived=lambda index: threads.add((index, threading.get_ident())))
            assert threads == {(index, loop_thread) for index in range(8)}
    with FakeSilo() as silo:
        asyncio.run(run(silo))


def test_calls_share_the_threads_and_the_loop_goes_on():
    async def run(silo: FakeSilo) -> None:
        async with cache_of(silo) as cache:
            await cache.put(SPACE, HASHES, BLOCKS)
            began = time.monotonic()
            founds = await asyncio.gather(*(cache.match(SPACE, HASHES) for _ in range(200)))
            assert [found.count for found in founds] == [8] * 200 and time.monotonic() - began < 60
            assert silo.accepted <= 4
    with FakeSilo() as silo:
        asyncio.run(run(silo))


def test_what_is_no_cache_is_told():
    for wrong in (None, AsyncCache(Cache())):
        with pytest.raises(ValueError, match="cache: a Cache or a RedisCache was expected"):
            AsyncCache(wrong)


def test_wrong_settings_are_told():
    for settings in ({"small_threads": 0}, {"byte_threads": "many"}):
        with pytest.raises(ValueError, match=f"{next(iter(settings))}: a whole number from 1 on was expected"):
            AsyncCache(Cache(), **settings)
