"""A cache for ``asyncio``: the calls of another cache, on threads."""
from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, List, Optional, Sequence, TypeVar, Union

from .deadline import Deadline, Timeout
from .forks import renews_after_fork
from .found import Found
from .hashing import Namespace
from .hints import Hint
from .interface import BlockCache, Capabilities
from .namespace import Deletion, Location
from .statistics import Statistics
from .wire import Outcome

T = TypeVar("T")


class AsyncFound:
    """Answer of ``AsyncCache.match``: as ``Found``, with an ``await`` before the end of the hold."""

    def __init__(self, found: Found, cache: AsyncCache):
        self._found, self._cache = found, cache

    @property
    def count(self) -> int:
        return self._found.count

    @property
    def hold_ms(self) -> int:
        return self._found.hold_ms

    async def release(self, timeout: float = 0.1) -> None:
        """Ends the hold, if there is one; it ends by itself after ``hold_ms`` too."""
        await self._cache.release(self._found, timeout)

    async def __aenter__(self) -> AsyncFound:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()


class AsyncCache:
    """The calls of a cache as coroutines; arguments and results are those of ``Cache``. They may come from any event loop.

    Small calls and those that move bytes have threads of their own, so that a match does not wait behind reads. The time that a call
    waits for a thread is part of its deadline.

    A call that is cancelled is given up at its next piece. It ends, with ``CancelledError``, when nothing reads or writes the caller's
    buffers any more, at its deadline at the latest; a silo gets no blame for it.
    """

    def __init__(self, cache: BlockCache, small_threads: int = 2, byte_threads: int = 4):
        """``cache`` is closed with this one. As many threads as it has connections are of use."""
        if isinstance(cache, AsyncCache) or not callable(getattr(cache, "match_deadline", None)):
            raise ValueError(f"cache: a Cache or a RedisCache was expected, and is {cache!r}")
        for name, count in (("small_threads", small_threads), ("byte_threads", byte_threads)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{name}: a whole number from 1 on was expected, and is {count!r}")
        #: What it calls, for those who want to call it from threads of their own.
        self.cache = cache
        self._sizes, self._is_closed = (small_threads, byte_threads), False
        self.after_fork()
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: the threads are the parent's. They start again when they are needed."""
        self._small, self._bytes = (ThreadPoolExecutor(count, thread_name_prefix="kvcache-async") for count in self._sizes)

    @property
    def statistics(self) -> Statistics:
        return self.cache.statistics

    @property
    def capabilities(self) -> Capabilities:
        return self.cache.capabilities

    @property
    def tenant(self) -> str:
        return self.cache.tenant

    async def match(self, namespaces: Union[Namespace, Sequence[Namespace]], hashes: Sequence[bytes], hold_ms: int = 0,
                    timeout: Timeout = None, hint: Optional[Hint] = None) -> AsyncFound:
        deadline = self.cache.match_deadline(timeout)
        found = await self._run(self._small, lambda own: self.cache.match(namespaces, hashes, hold_ms, own, hint), deadline,
                                lambda late: late.release())
        return AsyncFound(found, self)

    async def release(self, found: Found, timeout: float = 0.1) -> None:
        """Ends the hold of a match; it ends by itself too."""
        await self._run(self._small, lambda own: found.release(own.remaining), Deadline(timeout))

    async def locate(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None,
                     is_read: bool = False) -> Optional[Location]:
        deadline = self.cache.match_deadline(timeout)
        return await self._run(self._small, lambda own: self.cache.locate(namespace, hashes, own, is_read), deadline)

    async def get(self, namespace: Namespace, hashes: Sequence[bytes], targets: Sequence[Any], first_layer: int = 0,
                  layers: Optional[int] = None, past_misses: bool = False, arrived: Optional[Callable[[int], None]] = None,
                  timeout: Timeout = None, hint: Optional[Hint] = None) -> List[bool]:
        """``arrived`` is called in the event loop, for every block before the call returns."""
        deadline = self.cache.load_deadline(timeout)
        loop = asyncio.get_running_loop()

        def tell(index: int) -> None:
            if arrived is not None and not loop.is_closed():
                loop.call_soon_threadsafe(arrived, index)
        return await self._run(self._bytes, lambda own: self.cache.get(namespace, hashes, targets, first_layer, layers, past_misses,
                                                                       tell if arrived else None, own, hint), deadline)

    async def put(self, namespace: Namespace, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None,
                  depth: int = 0, ttl_seconds: float = 0, request_id: int = 0, new_tokens: int = 0, copies: int = 1,
                  persisted: bool = False, only_missing: bool = True, timeout: Timeout = None,
                  refresh_life: bool = True, hint: Optional[Hint] = None) -> List[Outcome]:
        deadline = self.cache.store_deadline(timeout)
        return await self._run(self._bytes, lambda own: self.cache.put(
            namespace, hashes, blocks, previous, depth, ttl_seconds, request_id, new_tokens, copies, persisted, only_missing, own,
            refresh_life, hint), deadline)

    async def pin(self, namespace: Namespace, hashes: Sequence[bytes], seconds: float, timeout: Timeout = None) -> int:
        deadline = self.cache.match_deadline(timeout)
        return await self._run(self._small, lambda own: self.cache.pin(namespace, hashes, seconds, own), deadline)

    async def expire(self, namespace: Namespace, hashes: Sequence[bytes], ttl_seconds: float, timeout: Timeout = None) -> int:
        deadline = self.cache.match_deadline(timeout)
        return await self._run(self._small, lambda own: self.cache.expire(namespace, hashes, ttl_seconds, own), deadline)

    async def hint(self, namespace: Namespace, hashes: Sequence[bytes], hint: Hint, timeout: Timeout = None) -> None:
        deadline = self.cache.match_deadline(timeout)
        await self._run(self._small, lambda own: self.cache.hint(namespace, hashes, hint, own), deadline)

    async def clear(self, namespace: Namespace, timeout: Timeout = None) -> Deletion:
        deadline = self.cache.store_deadline(timeout)
        return await self._run(self._bytes, lambda own: self.cache.clear(namespace, own), deadline)

    async def delete(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None) -> Deletion:
        deadline = self.cache.match_deadline(timeout)
        return await self._run(self._small, lambda own: self.cache.delete(namespace, hashes, own), deadline)

    async def stat(self, timeout: Timeout = None) -> Any:
        deadline = self.cache.match_deadline(timeout)
        return await self._run(self._small, lambda own: self.cache.stat(own), deadline)

    async def close(self) -> None:
        """Closes the cache. Later calls are misses."""
        self._is_closed = True
        self.cache.close()
        for threads in (self._small, self._bytes):
            threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncCache:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[Deadline], T], deadline: Deadline,
                   give_up: Callable[[T], object] = lambda result: None) -> T:
        """The result of a call on a thread. One that comes behind a cancellation is given up, on that thread."""
        if self._is_closed:
            return call(deadline)  # a miss that asks nobody
        own = Deadline(deadline.remaining, deadline)  # the caller may share its own with other calls

        def work() -> T:
            result = call(own)
            if own.is_cancelled:
                give_up(result)
            return result
        running = threads.submit(work)
        waiting = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            own.cancel()
            running.cancel()
            while not waiting.done():
                try:
                    await asyncio.wait([waiting])
                except asyncio.CancelledError:
                    pass  # the buffers are in use: the first one is raised when they are not
            if not waiting.cancelled():
                waiting.exception()  # nobody wants to know it
            raise
