"""A cache of KV tensors: a cluster of silos as an engine uses it."""
from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, TypeVar, Union

from .deadline import Deadline, Timeout
from .errors import KvCacheError
from .forks import renews_after_fork
from .found import Found
from .hashing import Namespace
from .hints import Hint, field_of
from .interface import Capabilities, check_chain, check_put, group_of
from .namespace import COUNT_FIELDS, Deletion, Location, OpenNamespace, PutOutcomes
from .options import CacheOptions
from .plan import join_locations
from .pool import MAX_NAMESPACES, Session, SiloClient, usable_address
from .reading import Read, ReadThreads, batch_of, views_of_blocks
from .statistics import Statistics
from .wire import Outcome, Status, milliseconds

T = TypeVar("T")
logger = logging.getLogger("kvcache")

# Silos that others name and that are kept in mind; of more, the one named first is forgotten.
MAX_OTHERS = 256


class Cache:
    """KV tensors of prompt prefixes on a cluster of silos. All calls may come from any thread.

    A cache that is down, slow or lying is a miss: no call raises because of it, and none takes longer than its deadline,
    which covers everything it does. A silo that fails is left alone for a while, and the next of ``endpoints`` is used.
    Wrong arguments raise ``ValueError``, as they are mistakes of the caller.

    When a call has returned, nothing reads or writes the caller's buffers any more.

    A process that forks may go on with it on both sides: the child opens connections of its own.
    """

    def __init__(self, endpoints: Union[str, Sequence[str], None] = None, tenant: Optional[str] = None,
                 secret: Optional[bytes] = None, options: Optional[CacheOptions] = None):
        """Connects when the first call needs it. The arguments replace those of ``options``."""
        given: Dict[str, Any] = {"tenant": tenant, "secret": secret}
        if endpoints is not None:
            given["endpoints"] = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints)
        self.options = replace(options or CacheOptions(), **{k: v for k, v in given.items() if v is not None})
        self.statistics = Statistics()
        self._has_asked = False
        self._lock = threading.Lock()
        self._warned: Set[Union[int, str, None]] = set()
        self._configured = [SiloClient(endpoint, self.options) for endpoint in self.options.endpoints]
        self._others: Dict[str, SiloClient] = {}
        self._threads = ReadThreads(self.options.read_threads)
        renews_after_fork(self)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond what all caches do: everything."""
        return ~Capabilities.NONE

    @property
    def tenant(self) -> str:
        """Whose namespaces it serves."""
        return self.options.tenant

    def warm_up(self) -> None:
        """Begins to connect, for small requests and for bytes, so that the first call need not wait for it. Returns at once;
        what fails is tried again by the calls that need it."""
        def connect() -> None:
            deadline = Deadline(self.options.load_timeout)
            for silo in self._configured:
                try:
                    silo.control.run(lambda session, limit: None, deadline)
                    silo.data.run(lambda session, limit: None, deadline)
                    return
                except KvCacheError as error:
                    logger.debug("%s is not there yet: %s", silo.endpoint, error)
        threading.Thread(target=connect, name="kvcache warm-up", daemon=True).start()

    def match(self, namespaces: Union[Namespace, Sequence[Namespace]], hashes: Sequence[bytes], hold_ms: int = 0,
              timeout: Timeout = None, hint: Optional[Hint] = None) -> Found:
        """How many blocks of a chain are stored, in every one of the namespaces when there are several, as those of the
        ranks of one model. With ``hold_ms`` they stay until they are read, and what lies in Redis is fetched ahead.
        It is advice: only a read is the truth."""
        began = time.perf_counter()
        found = self._match(namespaces, hashes, hold_ms, timeout, hint)
        self.statistics.add("match", began, matched_blocks=found.count)
        return found

    def _match(self, namespaces: Union[Namespace, Sequence[Namespace]], hashes: Sequence[bytes], hold_ms: int, timeout: Timeout,
               hint: Optional[Hint] = None) -> Found:
        group = group_of(namespaces)
        check_chain(group, hashes)
        if not isinstance(hold_ms, int) or not 0 <= hold_ms < 1 << 32:
            raise ValueError(f"hold_ms: whole milliseconds from 0 on were expected, and is {hold_ms!r}")
        if len(group) > MAX_NAMESPACES:
            raise ValueError(f"a match takes {MAX_NAMESPACES} namespaces at most, and these are {len(group)}")
        found = Found()

        def match(part: Sequence[bytes], session: Session, deadline: Deadline) -> bool:
            answer = session.client.match([session.open(namespace, deadline) for namespace in group], part, hold_ms, deadline, hint)
            found.add(answer, session)
            return answer.found == len(part)
        if group:
            self._in_parts(hashes, match, timeout, 12 + 4 * len(group) + len(field_of(hint)))
        return found

    def locate(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None,
               is_read: bool = False) -> Optional[Location]:
        """Which silos have the blocks of a chain; None when no silo could say. ``is_read`` says that they are about to be read: silos
        take copies of what is often read from afar."""
        check_chain([namespace], hashes)
        if not hashes:
            return Location((), ())
        parts: List[Location] = []

        def locate(part: Sequence[bytes], session: Session, deadline: Deadline) -> bool:
            location = session.open(namespace, deadline).locate(part, deadline, is_read)
            parts.append(location)
            return len(location.holders) == len(part)
        self._in_parts(hashes, locate, timeout)
        return join_locations(parts) if parts else None

    def get(self, namespace: Namespace, hashes: Sequence[bytes], targets: Sequence[Any], first_layer: int = 0,
            layers: Optional[int] = None, past_misses: bool = False, arrived: Optional[Callable[[int], None]] = None,
            timeout: Timeout = None, hint: Optional[Hint] = None) -> List[bool]:
        """Reads blocks straight into the caller's memory: each target is a buffer, or a list of buffers in the order of
        the block's bytes. Returns which blocks arrived intact; what other targets contain is undefined.

        Without ``past_misses`` it may stop at the first block that is not stored. ``arrived`` is called with the index of
        a block as soon as it is there, from the thread that read it.
        """
        began, deadline = time.perf_counter(), self.load_deadline(timeout)
        check_chain([namespace], hashes)
        read = Read(namespace, hashes, targets, first_layer, layers, past_misses, arrived, hint)
        if self.options.locate_bytes and len(hashes) > 1 and read.bytes >= self.options.locate_bytes:
            located = self.locate(namespace, hashes, deadline.at_most(self.options.match_timeout), is_read=True)
            if located is not None and len(located.silos) > 1:
                self._threads.read(read, located, self._data_of, deadline)
        while not read.is_answered and self._data(read.next, deadline):
            pass
        hits = sum(read.hits)
        self.statistics.add("get", began, read_blocks=hits, missed_blocks=len(hashes) - hits, read_bytes=hits * read.block_bytes,
                            read_tokens=hits * namespace.layout.tokens_per_block)
        return read.hits

    def put(self, namespace: Namespace, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None,
            depth: int = 0, ttl_seconds: float = 0, request_id: int = 0, new_tokens: int = 0, copies: int = 1,
            persisted: bool = False, only_missing: bool = True, timeout: Timeout = None,
            refresh_life: bool = True, hint: Optional[Hint] = None) -> List[Outcome]:
        """Stores blocks of a chain and returns what became of each; ``Outcome.FAILED`` where no silo could take them.
        The arguments are those of ``OpenNamespace.put``.

        With ``only_missing`` it asks first, and does not send what is stored at the begin of the run. Blocks that a silo
        has no memory for are put to the silo that it names, once.
        """
        began, deadline = time.perf_counter(), self.store_deadline(timeout)
        check_chain([namespace], hashes)
        check_put(depth, request_id, new_tokens, copies, ttl_seconds, previous)
        outcomes = [Outcome.FAILED] * len(hashes)
        views = views_of_blocks(namespace, hashes, blocks)

        def put(start: int, end: int, session: Session, limit: Deadline) -> PutOutcomes:
            end = min(end, start + batch_of(session))
            before = hashes[start - 1] if start else previous
            result = session.open(namespace, limit).put(
                hashes[start:end], views[start:end], before, depth + start, ttl_seconds, request_id, new_tokens, copies,
                persisted, limit, refresh_life, hint)
            outcomes[start:end] = result
            return result
        start = 0
        if only_missing:
            start = self._match(namespace, hashes, 0, deadline.at_most(self.options.match_timeout)).count
            outcomes[:start] = [Outcome.ALREADY_STORED] * start
            if start and ttl_seconds and refresh_life:
                self.expire(namespace, hashes[:start], ttl_seconds, deadline)
        while start < len(hashes):
            result = self._data(lambda session, limit: put(start, len(hashes), session, limit), deadline)
            if result is None:
                break
            self._put_elsewhere(result, start, put, deadline)
            start += len(result)
        stored = sum(outcome.is_stored for outcome in outcomes)
        self.statistics.add("put", began, stored_blocks=stored, refused_blocks=len(hashes) - stored)
        return outcomes

    def pin(self, namespace: Namespace, hashes: Sequence[bytes], seconds: float, timeout: Timeout = None) -> int:
        """Keeps blocks for a time, 0 to end that. Returns for how many it worked."""
        milliseconds(seconds)
        return self._count_in_parts(namespace, hashes, lambda space, part, deadline: space.pin(part, seconds, deadline), timeout)

    def expire(self, namespace: Namespace, hashes: Sequence[bytes], ttl_seconds: float, timeout: Timeout = None) -> int:
        """Sets the life of blocks from now on, 0 for as long as memory lasts. Returns for how many it worked."""
        milliseconds(ttl_seconds)
        return self._count_in_parts(namespace, hashes, lambda space, part, deadline: space.expire(part, ttl_seconds, deadline), timeout)

    def hint(self, namespace: Namespace, hashes: Sequence[bytes], hint: Hint, timeout: Timeout = None) -> None:
        """Tells what is known of a chain only after its answer: how it ended, and what follows. What is known earlier comes with the
        other calls. Advice, which may be lost: it waits no longer than a match."""
        check_chain([namespace], hashes)
        if not isinstance(hint, Hint):
            raise ValueError(f"hint: a kvcache.Hint was expected, and is {hint!r}")

        def tell(session: Session, deadline: Deadline) -> int:
            end = hashes[-session.client.most_blocks(COUNT_FIELDS + len(hint.field())):]
            return session.open(namespace, deadline).hint(end, hint, deadline)
        if hashes:
            self._control(tell, timeout)

    def clear(self, namespace: Namespace, timeout: Timeout = None) -> Deletion:
        """Forgets all blocks of a namespace; a large one takes longer than a call, and it goes on."""
        check_chain([namespace], ())
        deadline = self.store_deadline(timeout)
        return self._data(lambda session, limit: session.open(namespace, limit).clear(limit), deadline) or Deletion(0, False)

    def delete(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None) -> Deletion:
        """Forgets blocks; what is not confirmed goes on in the background."""
        parts = self._answers_in_parts(namespace, hashes, lambda space, part, deadline: (len(part), space.delete(part, deadline)), timeout)
        answered = sum(length for length, _ in parts)
        return Deletion(sum(part.deleted for _, part in parts), answered == len(hashes) and all(part.is_confirmed for _, part in parts))

    def stat(self, timeout: Timeout = None) -> Optional[Dict[str, Any]]:
        """What the tenant has on the silo that is used, and has used of it; None when there is none."""
        return self._control(lambda session, deadline: session.client.stat(deadline), timeout)

    def match_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a small call that is given this timeout. That of the first has the time to connect, once."""
        if isinstance(timeout, Deadline):
            return timeout
        longest = self.options.match_timeout
        if not self._has_asked:
            self._has_asked, longest = True, max(longest, self.options.first_match_timeout)
        return Deadline.of(timeout, longest)

    def load_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a read that is given this timeout."""
        return Deadline.of(timeout, self.options.load_timeout)

    def store_deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a put that is given this timeout."""
        return Deadline.of(timeout, self.options.store_timeout)

    def close(self) -> None:
        """Closes the connections. Later calls are misses."""
        self._threads.close()
        with self._lock:
            silos = self._configured + list(self._others.values())
        for silo in silos:
            silo.close()

    def after_fork(self) -> None:
        """In a child: counts from 0, with a lock of its own; the parts renew themselves."""
        self._lock, self.statistics = threading.Lock(), Statistics()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_parts(self, hashes: Sequence[bytes], ask: Callable[[Sequence[bytes], Session, Deadline], bool], timeout: Timeout,
                  fields: int = COUNT_FIELDS) -> None:
        """Asks about blocks, as many at a time as a request may name beside its other fields, until an answer is the last."""
        deadline = self.match_deadline(timeout)

        def step(session: Session, limit: Deadline) -> int:
            part = hashes[done:done + session.client.most_blocks(fields)]
            return len(part) if ask(part, session, limit) else 0
        done = 0
        while done < len(hashes):
            asked = self._control(step, deadline)
            if not asked:
                return
            done += asked

    def _count_in_parts(self, namespace: Namespace, hashes: Sequence[bytes],
                        call: Callable[[OpenNamespace, Sequence[bytes], Deadline], int], timeout: Timeout) -> int:
        return sum(self._answers_in_parts(namespace, hashes, call, timeout))

    def _answers_in_parts(self, namespace: Namespace, hashes: Sequence[bytes],
                          call: Callable[[OpenNamespace, Sequence[bytes], Deadline], T], timeout: Timeout) -> List[T]:
        check_chain([namespace], hashes)
        answers: List[T] = []

        def ask(part: Sequence[bytes], session: Session, deadline: Deadline) -> bool:
            answers.append(call(session.open(namespace, deadline), part, deadline))
            return True
        self._in_parts(hashes, ask, timeout)
        return answers

    def _put_elsewhere(self, result: PutOutcomes, start: int, put: Callable[[int, int, Session, Deadline], PutOutcomes],
                       deadline: Deadline) -> None:
        """Puts what was refused for lack of memory to the silo that the refusal named. Runs of neighbours stay together,
        for a put names the block before its first one."""
        address = usable_address(result.alternatives)
        refused = [start + i for i, outcome in enumerate(result) if outcome.is_no_room]
        if address is None:
            return
        while refused and not deadline.passed:
            first, end = refused[0], refused[0]
            while refused and refused[0] == end:
                end = refused.pop(0) + 1
            while first < end:
                try:
                    first += len(self._other(address).data.run(lambda session, limit: put(first, end, session, limit), deadline))
                except KvCacheError as error:
                    self._fail(error, address)
                    return

    def _control(self, operation: Callable[[Session, Deadline], T], timeout: Timeout) -> Optional[T]:
        deadline = self.match_deadline(timeout)
        return self._on_first([silo.control for silo in self._homes()], operation, deadline)

    def _data(self, operation: Callable[[Session, Deadline], T], deadline: Deadline) -> Optional[T]:
        return self._on_first([silo.data for silo in self._homes()], operation, deadline)

    def _homes(self) -> List[SiloClient]:
        """The configured silos, those that are about to leave last."""
        return sorted(self._configured, key=lambda silo: silo.is_leaving)

    def _on_first(self, pools: Sequence[Any], operation: Callable[[Session, Deadline], T], deadline: Deadline) -> Optional[T]:
        """The result from the first silo that can give one, None when none can. ``ValueError`` is the caller's."""
        error, endpoint = KvCacheError("the deadline passed"), ""
        for pool in pools:
            if deadline.passed:
                break
            # One that hangs leaves time for the next.
            limit = deadline if pool is pools[-1] else deadline.at_most(deadline.remaining / 2)
            try:
                return pool.run(operation, limit)
            except KvCacheError as failure:
                error, endpoint = failure, pool.endpoint
        if not deadline.is_cancelled:
            self._fail(error, endpoint)
        return None

    def _data_of(self, source: Optional[str]) -> Any:
        """The data connections of a source of a plan; None stands for the configured silo that answers."""
        if source is None:
            return next((silo.data for silo in self._homes() if not silo.breaker.is_open), self._configured[0].data)
        return self._other(source).data

    def _other(self, address: str) -> SiloClient:
        """A silo that another one named."""
        with self._lock:
            known = next((silo for silo in self._configured if silo.endpoint == address), None)
            if known is None:
                known = self._others.get(address)
            if known is None:
                if len(self._others) >= MAX_OTHERS:
                    self._others.pop(next(iter(self._others))).close()
                known = self._others[address] = SiloClient(address, self.options)
            return known

    def _fail(self, error: KvCacheError, endpoint: str) -> None:
        reason = str(error)
        if error.status == Status.NOT_AUTHENTICATED:
            reason = f"tenant {self.tenant}: {endpoint} refused it: {reason}"
        elif endpoint and endpoint not in reason:
            reason = f"{endpoint}: {reason}"
        self.statistics.fail(reason)
        with self._lock:
            kind = "tls" if isinstance(error.__cause__, ssl.SSLError) else error.status
            is_new = kind is not None and kind not in self._warned
            self._warned.add(kind)
        # What a silo refuses, or this side of a silo's certificate, is refused every time: one line is enough. Silos that are away are
        # the breakers' to report.
        logger.log(logging.WARNING if is_new else logging.DEBUG, "a call counts as a miss: %s", reason)
