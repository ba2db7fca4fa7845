"""One read of a cache, which several connections may serve at once."""
from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, List, Optional, Sequence

from .buffers import check_list, views_of_block
from .deadline import Deadline
from .errors import KvCacheError
from .forks import renews_after_fork
from .hashing import Namespace
from .hints import Hint
from .namespace import PUT_FIELDS, Location
from .plan import Source, plan_reads
from .pool import Session


HINT_BYTES = len(Hint().field())

# Blocks of one request, where the silo takes so many.
BATCH = 4096


def batch_of(session: Session) -> int:
    """How many blocks go into one request of a get or a put, with a hint or without."""
    return min(BATCH, session.client.most_blocks(PUT_FIELDS + HINT_BYTES))


def views_of_blocks(namespace: Namespace, hashes: Sequence[bytes], blocks: Sequence[Any]) -> List[List[memoryview]]:
    """The pieces of blocks that are to be stored; ``ValueError`` unless every hash has one of the namespace's size."""
    check_list("blocks", blocks)
    size = sum(namespace.layer_sizes())
    views = [views_of_block(block) for block in blocks]
    if len(views) != len(hashes) or any(sum(map(len, block)) != size for block in views):
        raise ValueError(f"blocks: every hash needs a block of {size} bytes")
    return views


class Read:
    """Which blocks are wanted, where they go, and which have arrived. A block that arrived is never asked for again, so
    what a failed attempt delivered counts."""

    def __init__(self, namespace: Namespace, hashes: Sequence[bytes], targets: Sequence[Any], first_layer: int,
                 layers: Optional[int], past_misses: bool, arrived: Optional[Callable[[int], None]], hint: Optional[Hint] = None):
        self.block_bytes = sum(namespace.layer_sizes(first_layer, layers))
        check_list("targets", targets)
        if len(targets) != len(hashes):
            raise ValueError("targets: every hash needs a target")
        self._targets = [views_of_block(target) for target in targets]
        for views in self._targets:
            if sum(map(len, views)) != self.block_bytes or any(view.readonly for view in views):
                raise ValueError(f"targets: every target is writable and has the {self.block_bytes} bytes of a block")
        self._namespace, self._hashes, self._arrived = namespace, hashes, arrived
        self._first_layer, self._layers, self._past_misses, self._hint = first_layer, layers, past_misses, hint
        self._asked = 0
        self.hits = [False] * len(hashes)
        self.bytes = self.block_bytes * len(hashes)

    @property
    def missing(self) -> List[int]:
        """The blocks that have not arrived and may still do."""
        return [index for index in range(self._asked, len(self.hits)) if not self.hits[index]]

    @property
    def is_answered(self) -> bool:
        """Whether everything has arrived, or a silo has said of what is missing that it is nowhere."""
        return not self.missing

    def next(self, session: Session, deadline: Deadline) -> bool:
        """Reads what is missing, or as much of it as fits into one request, from a silo that fetches what it lacks; what it
        does not deliver is a miss."""
        indices = self.missing[:batch_of(session)]
        if not indices:
            return True  # an attempt failed when everything had arrived
        self._read(indices, session, deadline, local_only=False)
        stopped = not self._past_misses and not all(self.hits[index] for index in indices)
        self._asked = len(self.hits) if stopped else indices[-1] + 1
        return True

    def fill(self, index: int, block: memoryview) -> None:
        """Takes the bytes of a block that has arrived otherwise."""
        at = 0
        for view in self._targets[index]:
            view[:] = block[at:at + len(view)]
            at += len(view)
        self.hits[index] = True
        if self._arrived:
            self._arrived(index)

    def run_local(self, indices: Sequence[int], session: Session, deadline: Deadline) -> None:
        """Reads what a silo has in its own memory."""
        size = batch_of(session)
        for first in range(0, len(indices), size):
            self._read(indices[first:first + size], session, deadline, local_only=True)

    def _read(self, indices: Sequence[int], session: Session, deadline: Deadline, local_only: bool) -> None:
        wanted = [index for index in indices if not self.hits[index]]
        if not wanted:
            return
        hits = [False] * len(wanted)

        def arrived(position: int) -> None:
            self.hits[wanted[position]] = True
            if self._arrived:
                self._arrived(wanted[position])
        session.open(self._namespace, deadline).read(
            [self._hashes[index] for index in wanted], [self._targets[index] for index in wanted], hits, self._first_layer,
            self._layers, self._past_misses or local_only, local_only, arrived, deadline, self._hint)


class ReadThreads:
    """Reads from several silos at once, on threads that all reads of a cache share."""

    def __init__(self, count: int):
        self._count = count
        self._lock = threading.Lock()
        self._executor: Optional[ThreadPoolExecutor] = None
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: the threads are the parent's."""
        self._lock, self._executor = threading.Lock(), None

    def read(self, read: Read, location: Location, pool_of: Callable[[Source], Any], deadline: Deadline) -> None:
        """Reads every block from a silo that has it, the caller's thread included. Returns when no thread touches the
        caller's memory any more; what fails stays missing."""
        shares = plan_reads(location, read.missing)
        if len(shares) < 2:
            return

        def share(source: Source, indices: List[int]) -> None:
            try:
                pool_of(source).run(lambda session, limit: read.run_local(indices, session, limit), deadline)
            except KvCacheError:
                pass  # the silo that was asked fetches it, or it is a miss
        (mine, my_indices), *others = shares.items()
        executor = self._get_executor()
        futures: List[Future] = [executor.submit(share, source, indices) for source, indices in others] if executor else []
        try:
            share(mine, my_indices)
        finally:
            for future in futures:
                # One that has not begun is left out; one that has ends with the deadline it shares.
                if not future.cancel():
                    future.exception()

    def close(self) -> None:
        with self._lock:
            executor, self._executor, self._count = self._executor, None, 0
        if executor is not None:
            executor.shutdown(wait=False)

    def _get_executor(self) -> Optional[ThreadPoolExecutor]:
        """The threads, started when the first read needs them; None after ``close``."""
        with self._lock:
            if self._executor is None and self._count:
                self._executor = ThreadPoolExecutor(self._count, thread_name_prefix="kvcache-read")
            return self._executor
