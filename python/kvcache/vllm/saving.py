"""Saves of a worker: from the KV cache to host memory while the engine goes on, then to the cluster."""
from __future__ import annotations

import threading
from functools import partial
from hashlib import sha256
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from ..cache import Cache
from ..deadline import Deadline
from ..forks import renews_after_fork
from ..hashing import Namespace
from .memory import CopyStream, GroupMemory
from .messages import GroupRuns
from .options import ConnectorOptions
from .staging import StagingPool
from .workers import BoundedWorkers


class SaveBatch:
    """Some consecutive runs of a request. Until ``copied`` is set its engine blocks must stay as they are."""

    def __init__(self, request_id: str, memory: GroupMemory, namespace: Namespace, runs: GroupRuns, first: int, last: int):
        self.request_id, self.memory, self.namespace = request_id, memory, namespace
        self.hashes = runs.hashes[first:last]
        self.blocks = runs.blocks[first:last]
        self.depth, self.new_tokens = runs.depth + first, runs.new_tokens
        self.previous = runs.hashes[first - 1] if first else runs.previous
        self.stages: List[Any] = []
        self.layers_left: Set[int] = set(range(len(memory.layouts)))
        self.copied = threading.Event()
        #: Until when it may wait for host memory, counted from the end of its step; set then.
        self.deadline = Deadline(0)
        self.is_cancelled = False
        self._lock = threading.Lock()

    @property
    def is_window(self) -> bool:
        """Whether the engine may take the blocks away while the request goes on."""
        return self.memory.group.window is not None

    def stage(self, staging: StagingPool, deadline: Deadline) -> bool:
        """Whether the batch has host memory, for all of its blocks or none."""
        if self.stages:
            return True
        stages: List[Any] = []
        while len(stages) < len(self.hashes):
            stage = None if self.is_cancelled else staging.take(self.memory.block_bytes, deadline.remaining)
            if stage is None:
                break
            stages.append(stage)
        with self._lock:
            if len(stages) == len(self.hashes) and not self.is_cancelled:
                self.stages, stages = stages, []
        for stage in stages:
            staging.give(stage)
        return bool(self.stages)

    def copy(self, layers: Sequence[int], stream: CopyStream, after: Optional[Any]) -> bool:
        """Copies layers to the stages; False when the batch was cancelled before."""
        with self._lock:
            if self.is_cancelled:
                return False

            def copies() -> None:
                for layer in layers:
                    for blocks, stage in zip(self.blocks, self.stages):
                        self.memory.gather(layer, blocks, stage)
            stream.run(copies, after)
            self.layers_left.difference_update(layers)
            if not self.layers_left:
                self.copied.set()
            return True

    def cancel(self) -> None:
        """Gives the save up unless it is copied. When this returns nothing reads the engine's blocks any more."""
        with self._lock:
            if not self.copied.is_set():
                self.is_cancelled = True
                self.copied.set()

    def after_fork(self) -> None:
        """In a child: the copy is the parent's."""
        self._lock, self.copied, self.is_cancelled, self.stages = threading.Lock(), threading.Event(), True, []
        self.copied.set()

    def give_back(self, staging: StagingPool) -> None:
        with self._lock:
            stages, self.stages = self.stages, []
        for stage in stages:
            staging.give(stage)


class Saver:
    """Takes what a step computed. One thread copies, others send; only what is complete is sent, so half of a block is
    never stored, whatever happens to this process."""

    def __init__(self, cache: Cache, options: ConnectorOptions, staging: StagingPool, device: Any):
        self._cache, self._options, self._staging = cache, options, staging
        # Blocks that are about to leave a window must not wait behind those that wait for memory.
        self._copiers = {is_window: BoundedWorkers("copy", 1, options.queue * 4) for is_window in (False, True)}
        self._streams = {is_window: CopyStream(device) for is_window in (False, True)}
        self._senders = BoundedWorkers("save", options.save_threads, options.queue)
        self._step: List[SaveBatch] = []
        #: Batches of every request that has some, until the engine is told that they are copied.
        self._requests: Dict[str, List[SaveBatch]] = {}
        self._finished: Set[str] = set()
        self.dropped_blocks = 0
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: what was under way is the parent's."""
        for batches in self._requests.values():
            for batch in batches:
                batch.after_fork()
        self._step = []

    def begin(self, saves: Dict[str, List[GroupRuns]], memories: Sequence[GroupMemory], namespaces: Sequence[Namespace],
              is_mine: Callable[[GroupMemory], bool]) -> None:
        """The saves of the step that begins. Every request is noted, also when another rank saves its blocks: the engine
        waits for all ranks."""
        self._step = []
        for request_id, groups in saves.items():
            batches = self._requests.setdefault(request_id, [])
            batches[:] = [batch for batch in batches if not batch.copied.is_set()]
            for runs in groups:
                memory = memories[runs.group]
                if not is_mine(memory):
                    continue
                # Half of the memory at most, so that one batch is sent while the next is copied.
                size = max(1, self._staging.capacity(memory.block_bytes) // 2)
                for first in range(0, len(runs.hashes), size):
                    batch = SaveBatch(request_id, memory, namespaces[runs.group], runs, first, first + size)
                    batches.append(batch)
                    self._step.append(batch)

    def layer(self, name: str) -> None:
        """A layer of the step is computed: copies it, for batches that find memory at once."""
        batches = [batch for batch in self._step if name in batch.memory.layer_index]
        after = self._streams[False].mark() if batches else None

        def copy(batch: SaveBatch) -> None:
            if batch.stage(self._staging, Deadline(0)):
                batch.copy([batch.memory.layer_index[name]], self._streams[batch.is_window], after)
        for batch in batches:
            self._copiers[batch.is_window].submit(partial(copy, batch))

    def end(self) -> None:
        """The step is computed: copies the rest and sends it. Waits only where the engine may take the blocks away in the
        next step, as it does with those that left a sliding window, and there only for copies: what finds no host memory is
        given up."""
        step, self._step = self._step, []
        if not step:
            return
        after = self._streams[False].mark()
        limit = Deadline(self._options.staging_wait)
        for batch in step:
            batch.deadline = Deadline(0) if batch.is_window else limit
            if not self._copiers[batch.is_window].submit(partial(self._finish, batch, after)):
                self._drop(batch)
        for batch in step:
            if batch.is_window and not batch.copied.wait(limit.remaining):
                batch.cancel()

    def preempted(self, request_ids: Sequence[str]) -> None:
        """The blocks of requests are about to be overwritten: what is not copied is given up."""
        for request_id in request_ids:
            for batch in self._requests.get(request_id, ()):
                batch.cancel()

    def finished(self, request_ids: Set[str]) -> Set[str]:
        """Requests that ended and whose blocks nobody reads any more, each once."""
        self._finished |= {request_id for request_id in request_ids if request_id in self._requests}
        done = {request_id for request_id in self._finished
                if all(batch.copied.is_set() for batch in self._requests[request_id])}
        self._finished -= done
        for request_id in done:
            del self._requests[request_id]
        return done

    def stop(self) -> None:
        """Sends what is copied, for a while."""
        for copier in self._copiers.values():
            copier.stop(self._options.staging_wait)
        self._senders.stop(self._options.cache.store_timeout)

    def _finish(self, batch: SaveBatch, after: Optional[Any]) -> None:
        copied = False
        try:
            copied = (batch.stage(self._staging, batch.deadline)
                      and batch.copy(sorted(batch.layers_left), self._streams[batch.is_window], after))
        finally:
            if not copied or not self._senders.submit(partial(self._send, batch)):
                self._drop(batch)

    def _send(self, batch: SaveBatch) -> None:
        try:
            self._cache.put(batch.namespace, batch.hashes, batch.stages, batch.previous, batch.depth,
                            self._options.ttl_seconds, _number(batch.request_id), batch.new_tokens, self._options.copies,
                            self._options.persisted)
        finally:
            batch.give_back(self._staging)

    def _drop(self, batch: SaveBatch) -> None:
        batch.cancel()
        batch.give_back(self._staging)
        self.dropped_blocks += len(batch.hashes)


def _number(request_id: str) -> int:
    """The engine's request as the protocol names one: a number, never 0."""
    return int.from_bytes(sha256(request_id.encode()).digest()[:8], "little") or 1
