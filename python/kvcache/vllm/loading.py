"""Loads of a worker: from the cluster to host memory, then to the KV cache, while the engine goes on."""
from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any, Dict, List, Sequence, Set

from ..cache import Cache
from ..deadline import Deadline
from ..forks import renews_after_fork
from ..hashing import Namespace
from .memory import CopyStream, GroupMemory
from .messages import SKIPPED, GroupRuns
from .options import ConnectorOptions
from .staging import StagingPool
from .workers import BoundedWorkers

logger = logging.getLogger("kvcache")


class Loader:
    """Every load ends: with its blocks in place, or with the engine blocks that are not."""

    def __init__(self, cache: Cache, options: ConnectorOptions, stream: CopyStream, staging: StagingPool):
        self._cache, self._options, self._stream, self._staging = cache, options, stream, staging
        self._threads = BoundedWorkers("load", options.load_threads, options.queue)
        self._lock = threading.Lock()
        self._running: Dict[str, List[GroupRuns]] = {}
        self._finished: Set[str] = set()
        self._failed: Set[int] = set()
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: the loads that run are the parent's, and failed here."""
        self._lock = threading.Lock()
        for request_id, groups in list(self._running.items()):
            self._end(request_id, _blocks_of(groups))

    def begin(self, loads: Dict[str, List[GroupRuns]], memories: Sequence[GroupMemory],
              namespaces: Sequence[Namespace]) -> None:
        """Starts the loads of a step."""
        for request_id, groups in loads.items():
            with self._lock:
                self._running[request_id] = groups
            is_begun = False
            try:
                is_begun = self._begin(request_id, groups, memories, namespaces)
            except Exception:
                logger.exception("a load could not begin; the engine computes its blocks")
            if not is_begun:
                self._end(request_id, _blocks_of(groups))

    def finished(self) -> Set[str]:
        """Requests whose loads ended since the last call. Their failed blocks are known by then."""
        with self._lock:
            finished, self._finished = self._finished, set()
            return finished

    def failed_blocks(self) -> Set[int]:
        """Engine blocks whose loads failed since the last call."""
        with self._lock:
            failed, self._failed = self._failed, set()
            return failed

    def stop(self) -> None:
        self._threads.stop(self._options.cache.load_timeout)

    def _begin(self, request_id: str, groups: List[GroupRuns], memories: Sequence[GroupMemory],
               namespaces: Sequence[Namespace]) -> bool:
        deadline = Deadline(self._options.cache.load_timeout)
        # Preempted or not, what the engine computed before this point comes before what is written now.
        after = self._stream.mark()
        return self._threads.submit(partial(self._load, request_id, groups, memories, namespaces, deadline, after))

    def _load(self, request_id: str, groups: List[GroupRuns], memories: Sequence[GroupMemory],
              namespaces: Sequence[Namespace], deadline: Deadline, after: Any) -> None:
        failed: List[int] = []
        for runs in groups:
            loaded: Set[int] = set()
            try:
                self._load_group(runs, memories[runs.group], namespaces[runs.group], deadline, after, loaded)
            except Exception:
                logger.exception("a load failed; the engine computes its blocks")
            failed += [block for run, blocks in enumerate(runs.blocks) if run not in loaded for block in blocks]
        if failed and len(memories) > 1:
            # With several groups the engine cannot go on from the middle: it has no blocks for windows that end there.
            failed = _blocks_of(groups)
        self._end(request_id, failed)

    def _load_group(self, runs: GroupRuns, memory: GroupMemory, namespace: Namespace, deadline: Deadline, after: Any,
                    loaded: Set[int]) -> None:
        """Loads runs in batches that fit into the host memory; ``loaded`` are those that are in place."""
        first = 0
        while first < len(runs.hashes) and not deadline.passed:
            stages = self._take(memory.block_bytes, len(runs.hashes) - first, deadline)
            if not stages:
                return
            try:
                self._load_batch(runs, first, stages, memory, namespace, deadline, after, loaded)
            finally:
                for stage in stages:
                    self._staging.give(stage)
            first += len(stages)

    def _load_batch(self, runs: GroupRuns, first: int, stages: List[Any], memory: GroupMemory, namespace: Namespace,
                    deadline: Deadline, after: Any, loaded: Set[int]) -> None:
        def arrived(position: int) -> None:
            run = first + position
            try:
                self._stream.run(lambda: memory.scatter(runs.blocks[run], stages[position]), after)
                loaded.add(run)
            except Exception:
                # Not the connection's fault: it goes on, and this block is missing.
                logger.exception("a block could not be copied to the KV cache")
        # Past misses: the engine is told which blocks are missing, not that everything behind the first one is.
        self._cache.get(namespace, runs.hashes[first:first + len(stages)], stages, past_misses=True, arrived=arrived,
                        timeout=deadline)

    def _take(self, size: int, wanted: int, deadline: Deadline) -> List[Any]:
        """Buffers for some blocks: waits for the first one only, and leaves some to others that load."""
        limit = min(wanted, max(1, self._staging.capacity(size) // self._options.load_threads))
        stages: List[Any] = []
        while len(stages) < limit:
            stage = self._staging.take(size, 0.0 if stages else deadline.remaining)
            if stage is None:
                break
            stages.append(stage)
        return stages

    def _end(self, request_id: str, failed: List[int]) -> None:
        with self._lock:
            self._running.pop(request_id, None)
            self._failed.update(block for block in failed if block != SKIPPED)
            self._finished.add(request_id)


def _blocks_of(groups: Sequence[GroupRuns]) -> List[int]:
    """All engine blocks that a load is to write."""
    return [block for runs in groups for blocks in runs.blocks for block in blocks]
