"""A process forks: parent and child go on with the same objects, and share neither connections nor locks.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import ctypes
import os
import threading

import pytest

from harness.fake_silo import GET, FakeSilo
from harness.forking import Barrier, Child
from harness.silo_fixtures import endpoint, silo  # noqa: F401
from kvcache import Cache, CacheOptions, Client, KvCacheError, Namespace, OpaqueLayout, Outcome, prefix_chain
from kvcache.forks import renews_after_fork
from kvcache.vllm.workers import BoundedWorkers

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
BLOCK = 64 << 10
SPACE = Namespace("forks", OpaqueLayout(16, (BLOCK,)), salt=os.urandom(8).hex())
HASHES = prefix_chain(range(8 * 16), 16)
BLOCKS = [bytes([i + 1]) * BLOCK for i in range(8)]


def cache_at(endpoint: str, **options) -> Cache:
    return Cache(endpoint, options=CacheOptions(**{**dict(match_timeout=20, load_timeout=20, store_timeout=20, breaker_delay=0.05), **options}))


def wrong_reads(cache: Cache, index: int, reads: int = 500) -> int:
    """Reads one block again and again; how often it was not there, or another's bytes."""
    target, wrong = bytearray(BLOCK), 0
    for _ in range(reads):
        wrong += cache.get(SPACE, HASHES[index:index + 1], [target]) != [True] or target != BLOCKS[index]
    return wrong


def test_parent_and_children_read_different_blocks_at_the_same_moment(endpoint):
    with cache_at(endpoint) as cache:
        assert all(outcome.is_stored for outcome in cache.put(SPACE, HASHES, BLOCKS))
        assert wrong_reads(cache, 0, 1) == 0, "a connection is open, and idle"
        barrier = Barrier()

        def read(index: int) -> int:
            barrier.wait()
            return wrong_reads(cache, index)
        children = [Child(lambda index=index: read(index)) for index in (1, 2)]
        assert read(0) == 0
        assert [child.result() for child in children] == [0, 0]
        # And on both sides the other calls.
        assert Child(lambda: cache.match(SPACE, HASHES).count).result() == 8 == cache.match(SPACE, HASHES).count


def test_child_uses_connections_of_its_own(silo):
    with cache_at(silo.endpoint) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        accepted = silo.accepted
        assert Child(lambda: (cache.statistics.stored_blocks, wrong_reads(cache, 3, 3), cache.statistics.read_blocks)).result() == (0, 0, 3)
        assert silo.accepted == accepted + 1
        assert wrong_reads(cache, 4, 3) == 0 and silo.accepted == accepted + 1, "the parent's live on"


def test_fork_while_another_thread_is_in_the_middle_of_a_call(silo):
    """Its locks stay taken in the child, where the thread is not."""
    is_asked, goes_on = threading.Event(), threading.Event()
    with cache_at(silo.endpoint, connections=1) as cache, Client(silo.endpoint) as client:
        cache.put(SPACE, HASHES, BLOCKS)
        opened = client.open(SPACE)

        def before(kind: int):
            if kind == GET and not goes_on.is_set():
                is_asked.set()
                goes_on.wait(20)
        silo.before = before
        threads = [threading.Thread(target=wrong_reads, args=(cache, 0, 1)),
                   threading.Thread(target=opened.get_into, args=(HASHES[:1], bytearray(BLOCK)))]
        for thread in threads:
            thread.start()
        assert is_asked.wait(20)

        def child():
            with pytest.raises(KvCacheError, match="forked"):
                client.stat()
            return cache.match(SPACE, HASHES).count
        assert Child(child).result() == 8
        goes_on.set()
        for thread in threads:
            thread.join(20)
        assert client.stat() and wrong_reads(cache, 1, 3) == 0


def test_fork_in_the_middle_of_a_read(silo):
    """Both finish it, each on a connection of its own and in memory of its own."""
    with cache_at(silo.endpoint) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        targets, children = [bytearray(BLOCK) for _ in HASHES], []
        barrier = Barrier()
        is_child = []

        def arrived(index: int) -> None:
            if index == 3 and not children and not is_child:
                reader, writer = os.pipe()
                pid = os.fork()
                if pid == 0:
                    is_child.append(writer)
                else:
                    os.close(writer)
                    children.append((pid, reader))
                barrier.wait()
        try:
            hits = cache.get(SPACE, HASHES, targets, arrived=arrived)
        finally:
            if is_child:
                os.write(is_child[0], b"right" if hits == [True] * 8 and targets == BLOCKS else repr(hits).encode())
                os._exit(0)
        assert hits == [True] * 8 and targets == BLOCKS
        pid, reader = children[0]
        with os.fdopen(reader, "rb") as stream:
            assert stream.read() == b"right"
        os.waitpid(pid, 0)


def test_fork_that_python_is_not_told_of(silo):
    """As of a library in C: then connections refuse to work in the child, and are the parent's."""
    with cache_at(silo.endpoint) as cache, Client(silo.endpoint) as client:
        cache.put(SPACE, HASHES, BLOCKS)
        fork = ctypes.PyDLL(None).fork

        def child():
            with pytest.raises(KvCacheError, match="forked"):
                client.stat()
            return wrong_reads(cache, 1, 3)
        assert Child(child, fork).result() == 0
        assert client.stat() and wrong_reads(cache, 2, 3) == 0


def test_hold_of_the_parent_is_not_released_by_the_child(silo):
    with cache_at(silo.endpoint) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        found = cache.match(SPACE, HASHES, hold_ms=5000)
        Child(found.release).result()
        assert not silo.released
        found.release(20)
        assert silo.released == [7]


def test_pool_of_threads_starts_again_in_a_child():
    workers, hang = BoundedWorkers("test", 2, 4), threading.Event()
    for _ in range(6):
        while not workers.submit(lambda: hang.wait(20)):
            pass

    def child() -> bool:
        done = threading.Event()
        assert workers.submit(done.set), "what waits in the parent's queue runs there"
        return done.wait(20)
    assert Child(child).result()
    hang.set()
    workers.stop(20)


def test_what_cannot_begin_anew_does_not_keep_the_others_from_it():
    class Broken:
        def after_fork(self) -> None:
            raise RuntimeError("broken")
    broken = Broken()
    renews_after_fork(broken)
    with FakeSilo() as silo, cache_at(silo.endpoint) as cache:
        assert cache.put(SPACE, HASHES, BLOCKS) == [Outcome.STORED] * 8
        assert Child(lambda: wrong_reads(cache, 1, 1)).result() == 0
    del broken
