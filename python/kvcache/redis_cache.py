"""A cache in a plain Redis, without any silo, with redis-py. Blocks have the form that ``RedisKvCache`` of .NET gives them, so that each
reads what the other stored; what .NET compressed with Zstandard or float planes is a miss here, and stays."""
from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar, Union

from ._engines import complaints, engine_module
from .buffers import view_of
from .deadline import Deadline, Timeout
from .forks import renews_after_fork
from .found import Found
from .hashing import DataType, Namespace, OpaqueLayout
from .hints import Hint
from .interface import Capabilities, check_chain, check_put, group_of
from .namespace import Deletion
from .reading import Read, views_of_blocks
from .redis_options import RedisOptions
from .statistics import Statistics
from .tensors import Tensor, UnknownCompression
from .wire import Outcome, milliseconds

T = TypeVar("T")
logger = logging.getLogger("kvcache")

MAGIC = b"KVR1"
#: Keys of one request.
KEYS_AT_ONCE = 512


class RedisCache:
    """Blocks of KV tensors in a plain Redis. All calls may come from any thread; arguments and results are those of ``Cache``.

    A Redis that is down, slow or full is a miss: no call raises because of it, and none takes longer than its deadline. What Redis cannot
    do, this cannot: nothing is held, pins answer 0, hints change nothing. Everybody who reaches Redis reads every tenant's blocks.
    """

    def __init__(self, url: Optional[str] = None, tenant: Optional[str] = None, options: Optional[RedisOptions] = None):
        """Connects when the first call needs it. The arguments replace those of ``options``."""
        given = {name: value for name, value in (("url", url), ("tenant", tenant)) if value is not None}
        self.options = replace(options or RedisOptions(), **given)
        self.statistics = Statistics()
        self._redis: Any = engine_module("redis", "RedisCache", "redis-py")
        self._has_asked = self._is_closed = False
        settings: Dict[str, Any] = {"socket_timeout": max(self.options.load_timeout, self.options.store_timeout)}
        if not self.options.url.startswith("unix:"):
            settings["socket_connect_timeout"] = self.options.first_call_timeout
        try:
            self._client = self._redis.Redis.from_url(self.options.url, **settings)
            pool = self._client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # nothing is connected
        except (TypeError, ValueError, self._redis.RedisError) as error:
            raise ValueError(f"url: an address of a Redis was expected: {error}") from error
        for name in ("decode_responses", "encoding", "encoding_errors"):
            if name in pool.connection_kwargs and name in self.options.url:
                raise ValueError(f"url: {name} is the cache's own, and is in {self.options.url!r}")
        self.after_fork()
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: counts from 0, on threads of its own. redis-py opens connections of its own."""
        self.statistics = Statistics()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(self.options.connections, thread_name_prefix="kvcache-redis")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities.DURABILITY

    @property
    def tenant(self) -> str:
        return self.options.tenant

    def match(self, namespaces: Union[Namespace, Sequence[Namespace]], hashes: Sequence[bytes], hold_ms: int = 0,
              timeout: Timeout = None, hint: Optional[Hint] = None) -> Found:
        """How many blocks of a chain are stored, in every one of the namespaces. Nothing is held."""
        began, group = time.perf_counter(), group_of(namespaces)
        check_chain(group, hashes)
        if not isinstance(hold_ms, int) or not 0 <= hold_ms < 1 << 32:
            raise ValueError(f"hold_ms: whole milliseconds from 0 on were expected, and is {hold_ms!r}")
        count, deadline = len(hashes) if group else 0, self.match_deadline(timeout)
        for namespace in group:
            count = self._count(namespace, hashes[:count], deadline)
        self.statistics.add("match", began, matched_blocks=count)
        return Found(count)

    def locate(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None, is_read: bool = False) -> None:
        """Nothing to tell."""
        check_chain([namespace], hashes)

    def get(self, namespace: Namespace, hashes: Sequence[bytes], targets: Sequence[Any], first_layer: int = 0,
            layers: Optional[int] = None, past_misses: bool = False, arrived: Optional[Callable[[int], None]] = None,
            timeout: Timeout = None, hint: Optional[Hint] = None) -> List[bool]:
        """Reads blocks into the caller's memory. Redis sends whole blocks, also where some layers are asked for."""
        began, deadline = time.perf_counter(), self.load_deadline(timeout)
        check_chain([namespace], hashes)
        read = Read(namespace, hashes, targets, first_layer, layers, past_misses, arrived, hint)
        start = namespace.layout.layer_ends[first_layer - 1] if first_layer else 0
        at_once = self._at_once(namespace)
        for first in range(0, len(hashes), at_once):
            keys = [self._key(namespace, name) for name in hashes[first:first + at_once]]
            values = self._ask(lambda keys=keys: self._values(keys), deadline)
            for index, value in enumerate(values or [None] * len(keys), first):
                block = self._decoded(namespace, hashes[index], value, deadline) if value is not None else None
                if block is not None:
                    read.fill(index, block[start:start + read.block_bytes])
            if values is None or (not past_misses and not all(read.hits[first:first + at_once])):
                break
        hits = sum(read.hits)
        self.statistics.add("get", began, read_blocks=hits, missed_blocks=len(hashes) - hits, read_bytes=hits * read.block_bytes,
                            read_tokens=hits * namespace.layout.tokens_per_block)
        return read.hits

    def put(self, namespace: Namespace, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None,
            depth: int = 0, ttl_seconds: float = 0, request_id: int = 0, new_tokens: int = 0, copies: int = 1,
            persisted: bool = False, only_missing: bool = True, timeout: Timeout = None,
            refresh_life: bool = True, hint: Optional[Hint] = None) -> List[Outcome]:
        """Stores blocks. One that is there already is not written again, but gets the new life. ``persisted`` and ``copies`` are Redis'
        own affair."""
        began, deadline = time.perf_counter(), self.store_deadline(timeout)
        check_chain([namespace], hashes)
        check_put(depth, request_id, new_tokens, copies, ttl_seconds, previous)
        views = views_of_blocks(namespace, hashes, blocks)
        outcomes, life = [Outcome.FAILED] * len(hashes), milliseconds(ttl_seconds or self.options.default_ttl_seconds) or None
        at_once = self._at_once(namespace)

        def put(first: int, values: List[bytes]) -> List[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for name, value in zip(hashes[first:], values):
                    pipe.set(self._key(namespace, name), value, px=life, nx=True)
                return pipe.execute()
        for first in range(0, len(hashes), at_once):
            # A call that takes too long goes on without its caller: so it has bytes of its own.
            values = [self._encoded(namespace, name, b"".join(block))
                      for name, block in zip(hashes[first:first + at_once], views[first:first + at_once])]
            stored = self._ask(lambda first=first, values=values: put(first, values), deadline)
            if stored is None:
                break
            outcomes[first:first + len(stored)] = [Outcome.STORED if done else Outcome.ALREADY_STORED for done in stored]
        there = [name for name, outcome in zip(hashes, outcomes) if outcome == Outcome.ALREADY_STORED]
        if there and ttl_seconds and refresh_life:
            self.expire(namespace, there, ttl_seconds, deadline)
        count = sum(outcome.is_stored for outcome in outcomes)
        self.statistics.add("put", began, stored_blocks=count, refused_blocks=len(hashes) - count)
        return outcomes

    def pin(self, namespace: Namespace, hashes: Sequence[bytes], seconds: float, timeout: Timeout = None) -> int:
        """Redis keeps nothing from eviction: 0."""
        check_chain([namespace], hashes)
        milliseconds(seconds)
        return 0

    def expire(self, namespace: Namespace, hashes: Sequence[bytes], ttl_seconds: float, timeout: Timeout = None) -> int:
        """Sets the life of blocks from now on, 0 for as long as memory lasts. Returns for how many it worked."""
        check_chain([namespace], hashes)
        life, deadline, done = milliseconds(ttl_seconds), self.match_deadline(timeout), 0

        def expire(part: Sequence[bytes]) -> int:
            with self._client.pipeline(transaction=False) as pipe:
                for name in part:
                    key = self._key(namespace, name)
                    if life:
                        pipe.pexpire(key, life)
                    else:
                        pipe.persist(key)
                        pipe.exists(key)  # PERSIST says nothing of a key that has no end already
                answers = pipe.execute()
            return sum(map(bool, answers if life else answers[1::2]))
        for first in range(0, len(hashes), KEYS_AT_ONCE):
            done += self._ask(lambda first=first: expire(hashes[first:first + KEYS_AT_ONCE]), deadline) or 0
        return done

    def hint(self, namespace: Namespace, hashes: Sequence[bytes], hint: Hint, timeout: Timeout = None) -> None:
        """Redis has its own way to forget: nothing happens."""
        check_chain([namespace], hashes)
        if not isinstance(hint, Hint):
            raise ValueError(f"hint: a kvcache.Hint was expected, and is {hint!r}")

    def clear(self, namespace: Namespace, timeout: Timeout = None) -> Deletion:
        """Forgets all blocks of a namespace; looks at every key. One that takes longer than its deadline has deleted a part."""
        check_chain([namespace], ())
        deadline, deleted = self.store_deadline(timeout), 0
        pattern = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self._prefix(namespace)) + "*"
        cursor: Any = 0
        while True:
            part = self._ask(lambda: self._scan(cursor, pattern), deadline)
            if part is None:
                return Deletion(deleted, False)
            cursor, deleted = part[0], deleted + part[1]
            if not cursor:
                return Deletion(deleted, True)

    def delete(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None) -> Deletion:
        """Forgets blocks."""
        check_chain([namespace], hashes)
        deadline, deleted = self.match_deadline(timeout), 0
        for first in range(0, len(hashes), KEYS_AT_ONCE):
            keys = [self._key(namespace, name) for name in hashes[first:first + KEYS_AT_ONCE]]
            done = self._ask(lambda keys=keys: self._client.delete(*keys), deadline)
            if done is None:
                return Deletion(deleted, False)
            deleted += done
        return Deletion(deleted, True)

    def stat(self, timeout: Timeout = None) -> Any:
        """What Redis says of its memory; None when it says nothing."""
        return self._ask(lambda: self._client.info("memory"), self.match_deadline(timeout))

    def match_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a small call that is given this timeout."""
        return self._deadline(timeout, self.options.match_timeout)

    def load_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a read that is given this timeout."""
        return self._deadline(timeout, self.options.load_timeout)

    def store_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a put that is given this timeout."""
        return self._deadline(timeout, self.options.store_timeout)

    def close(self) -> None:
        """Closes the connections. Later calls are misses."""
        self._is_closed = True
        self._threads.shutdown(wait=False)
        self._client.close()
        self._client.connection_pool.disconnect(inuse_connections=False)

    def __enter__(self) -> RedisCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self, timeout: Timeout, longest: float) -> Deadline:
        if isinstance(timeout, Deadline):
            return timeout
        if not self._has_asked:
            self._has_asked, longest = True, longest + self.options.first_call_timeout
        return Deadline.of(timeout, longest)

    def _ask(self, call: Callable[[], T], deadline: Deadline) -> Optional[T]:
        """The answer of Redis; None when there is none in time, whatever the reason. Runs on another thread, that the caller may leave."""
        reason = "the cache is closed" if self._is_closed else "the deadline passed"
        if not self._is_closed and not deadline.passed:
            try:
                answer: Future[T] = self._threads.submit(call)
                try:
                    return answer.result(deadline.remaining)
                finally:
                    answer.cancel()
            except FutureTimeout:
                reason = "Redis has not answered in time"
            except (self._redis.RedisError, OSError, RuntimeError) as error:
                reason = f"Redis: {error}"
        if not deadline.is_cancelled:
            self.statistics.fail(reason)
            complaints.warn((type(self), reason[:40]), "a call counts as a miss: %s", reason)
        return None

    def _values(self, keys: Sequence[str]) -> List[Optional[bytes]]:
        """The values of keys; one that is of another kind than a block is no block, and so an empty one."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
            answers = pipe.execute(raise_on_error=False)
        for index, answer in enumerate(answers):
            if isinstance(answer, self._redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
                answers[index] = b""
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def _count(self, namespace: Namespace, hashes: Sequence[bytes], deadline: Deadline) -> int:
        """How many blocks of a chain there are."""
        def exist(part: Sequence[bytes]) -> List[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for name in part:
                    pipe.exists(self._key(namespace, name))
                return pipe.execute()
        for first in range(0, len(hashes), KEYS_AT_ONCE):
            there = self._ask(lambda first=first: exist(hashes[first:first + KEYS_AT_ONCE]), deadline)
            if there is None or 0 in there:
                return first + (there.index(0) if there else 0)
        return len(hashes)

    def _scan(self, cursor: Any, pattern: str) -> Any:
        cursor, keys = self._client.scan(cursor, pattern, KEYS_AT_ONCE)
        return cursor, self._client.delete(*keys) if keys else 0

    def _at_once(self, namespace: Namespace) -> int:
        return max(1, min(KEYS_AT_ONCE, self.options.bytes_on_the_way // namespace.layout.layer_ends[-1]))

    def _prefix(self, namespace: Namespace) -> str:
        # A narrowed block is not what somebody else stored.
        narrowed = self._narrowed(namespace)
        return f"{self.options.key_prefix}:{namespace.id.hex()}{f'.{narrowed.name.lower()}' if narrowed else ''}:"

    def _key(self, namespace: Namespace, name: bytes) -> str:
        return self._prefix(namespace) + name.hex()

    def _narrowed(self, namespace: Namespace) -> Optional[DataType]:
        layout = namespace.layout
        is_wide = not isinstance(layout, OpaqueLayout) and layout.data_type == DataType.FLOAT32
        return self.options.narrowed_type if is_wide else None

    def _encoded(self, namespace: Namespace, name: bytes, block: bytes) -> bytes:
        kind, shape = _form(namespace)
        tensor = Tensor(kind, shape, block)
        return MAGIC + namespace.id + name + tensor.encode(self._narrowed(namespace), self.options.compression == "gzip")

    def _decoded(self, namespace: Namespace, name: bytes, value: bytes, deadline: Deadline) -> Optional[memoryview]:
        """The bytes of a block; None for a value that is damaged, which is deleted, or that cannot be read here."""
        head = MAGIC + namespace.id + name
        try:
            if not value.startswith(head):
                raise ValueError("a value is not that of the block that its key names")
            tensor = Tensor.decode(memoryview(value)[len(head):])
            if (tensor.data_type, tensor.shape) != _form(namespace):
                raise ValueError("a value has the form of another block")
            return view_of(tensor.data)
        except ValueError as error:
            complaints.warn((type(self), str(error)), "a block counts as a miss: %s", error)
            if not isinstance(error, UnknownCompression):
                self._ask(lambda: self._client.delete(self._key(namespace, name)), deadline)
            return None


def _form(namespace: Namespace) -> Any:
    """Type and shape of a namespace's blocks as tensors."""
    layout = namespace.layout
    if isinstance(layout, OpaqueLayout):
        return DataType.UINT8, (layout.layer_ends[-1],)
    return layout.data_type, (layout.layers, layout.parts, layout.tokens_per_block, layout.kv_heads, layout.head_dim)
