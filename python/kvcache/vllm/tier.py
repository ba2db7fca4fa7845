"""``KvCacheTier``: a secondary tier of vLLM's tiered offloading (``SecondaryTierManager``), behind its CPU tier.

The interface is experimental and moves: a job was ``JobMetadata`` with ``block_ids`` and is ``TransferJob`` with
``chunk_ids`` on main, and a failed job can name what succeeded there. Both are served.
"""
from __future__ import annotations

import inspect
import logging
import os
import threading
from functools import partial
from importlib import import_module
from typing import Any, Collection, Dict, Iterable, List, Tuple

from .._engines import engine_module, never_raises
from ..cache import Cache
from ..forks import renews_after_fork
from ..hashing import Namespace, OpaqueLayout, engine_key_hash
from ..hints import Hint
from ..identity import digest, type_name
from .identity import current_config, engine_fields, number_format
from .tier_lookups import TierLookups
from .tier_options import TierOptions
from .workers import BoundedWorkers

_base = engine_module("vllm.v1.kv_offload.tiering.base", "KvCacheTier", "vLLM 0.23 or newer, with tiered offloading")
_offload = import_module("vllm.v1.kv_offload.base")
_Result = _offload.LookupResult
_NAMES_SUCCESSES = "successful_keys" in inspect.signature(_base.JobResult).parameters

logger = logging.getLogger("kvcache")


class KvCacheTier(_base.SecondaryTierManager):  # type: ignore[name-defined,misc]
    """Rows of the engine's CPU tier in KvCache. All methods run in the scheduler's process and return at once; threads of
    its own move the bytes, straight between the rows and the network.

    A cluster that is away is a miss for every key, and a failed job.
    """

    medium = getattr(getattr(_offload, "Medium", None), "STORAGE", None)

    def __init__(self, offloading_spec: Any, primary_kv_view: memoryview, tier_type: str = "kvcache", **settings: Any):
        """Settings are those of ``TierOptions``, beside ``type`` and ``module_path`` in the engine's tier configuration."""
        super().__init__(offloading_spec, primary_kv_view, tier_type)
        if primary_kv_view.ndim < 2 or not primary_kv_view.strides or primary_kv_view.readonly:
            raise ValueError("kvcache: the engine's CPU tier is not rows of bytes; KvCacheTier needs vLLM 0.23 or newer")
        self._row_bytes = primary_kv_view.strides[0]
        self._rows = primary_kv_view.cast("B")
        config = getattr(offloading_spec, "config", None)
        engine = getattr(offloading_spec, "vllm_config", None) or current_config()
        name = str(_path(config, "model.name") or _path(engine, "model_config.model") or "")
        self._options = TierOptions.from_mapping({"model": name, "revision": str(_path(engine, "model_config.revision") or ""), **settings})
        self._space = tier_namespace(self._options, config, engine, self._row_bytes)
        self._cache = Cache(options=self._options.cache)
        self._cache.warm_up()
        self._lookups = TierLookups(self._cache, self._space, self._options, block_hash)
        self._loads = BoundedWorkers("tier-load", self._options.load_threads, self._options.queue)
        self._stores = BoundedWorkers("tier-store", self._options.store_threads, self._options.queue)
        self._changed = threading.Condition()
        self._running: Dict[int, List[Any]] = {}
        self._finished: List[Tuple[int, Collection[Any], Collection[Any]]] = []
        self._load_keys: Dict[int, List[Any]] = {}
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: the jobs that run are the parent's, and failed here."""
        self._changed = threading.Condition()
        for job_id, keys in list(self._running.items()):
            self._end(job_id, keys, [])

    @never_raises(lambda: _Result.MISS)
    def lookup(self, key: Any, req_context: Any) -> Any:
        """Whether a chunk is stored; ``RETRY`` until the cluster has said so."""
        found = self._lookups.find(key, getattr(req_context, "req_id", ""))
        return _Result.RETRY if found is None else _Result.HIT if found else _Result.MISS

    @never_raises(lambda: None)
    def submit_store(self, job_metadata: Any) -> None:
        """Stores rows; the engine keeps them until the job is reported."""
        self._submit(self._stores, job_metadata, self._store)

    @never_raises(lambda: None)
    def submit_load(self, job_metadata: Any) -> None:
        """Loads rows; those that are not there make a failed job, which names those that are."""
        self._load_keys[job_metadata.job_id] = list(job_metadata.keys)
        self._submit(self._loads, job_metadata, self._load)

    @never_raises(list)
    def get_finished_jobs(self) -> Iterable[Any]:
        """Jobs that ended since the last call."""
        with self._changed:
            finished, self._finished = self._finished, []
        results = []
        for job_id, keys, done in finished:
            loads = self._load_keys.pop(job_id, None)
            if loads is not None and len(done) < len(keys):
                # Asked again, these would be found again and fail again.
                arrived = set(done)
                self._lookups.forget_as_missing(key for key in keys if key not in arrived)
            results.append(_result(job_id, keys, done, loads is not None))
        return results

    @never_raises(lambda: None)
    def on_new_request(self, req_context: Any) -> Any:
        """Every chunk is offloaded as it comes."""
        return _offload.RequestOffloadingContext()

    @never_raises(lambda: None)
    def on_request_finished(self, req_context: Any) -> None:
        """Passes on what the request's envelope of hints says; what it asked for names its chain."""
        keys = self._lookups.end(req_context.req_id)
        hint = Hint.of_kv_hints(getattr(req_context, "kv_hints", None))
        if hint is not None and keys:
            self._stores.submit(partial(self._cache.hint, self._space, [block_hash(key) for key in keys], hint))

    @never_raises(lambda: None)
    def on_schedule_end(self, context: Any = None) -> None:
        """The step is planned: what was looked up in it is asked in one request."""
        self._lookups.ask()

    def has_pending_work(self) -> bool:
        """Whether jobs are running whose results the engine should fetch."""
        with self._changed:
            return bool(self._running or self._finished)

    def drain_jobs(self) -> None:
        """Waits until no job touches the rows any more. Every job has a deadline, and so has this: that of all jobs that can wait,
        one behind the other."""
        cache, waiting = self._options.cache, 2 + self._options.queue
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, waiting * max(cache.load_timeout, cache.store_timeout)):
                logger.error("%d jobs did not end in time", len(self._running))

    @never_raises(lambda: None)
    def shutdown(self) -> None:
        self._lookups.stop()
        self._loads.stop(self._options.cache.load_timeout)
        self._stores.stop(self._options.cache.store_timeout)
        self._cache.close()
        # The engine unmaps its memory next, and cannot while a view of it is left.
        self._rows.release()

    def _submit(self, threads: BoundedWorkers, job: Any, work: Any) -> None:
        # Taken now: what the engine passes is its own to change.
        keys = list(job.keys)
        with self._changed:
            self._running[job.job_id] = keys
        is_taken = False
        try:
            is_taken = threads.submit(partial(self._run, job.job_id, keys, [int(row) for row in _rows_of(job)], work))
        finally:
            if not is_taken:  # the engine waits for every job, also for one that is not understood
                self._end(job.job_id, keys, [])

    def _run(self, job_id: int, keys: List[Any], rows: List[int], work: Any) -> None:
        done: List[Any] = []
        try:
            views = [self._rows[row * self._row_bytes:(row + 1) * self._row_bytes] for row in rows]
            done = [key for key, moved in zip(keys, work([block_hash(key) for key in keys], views)) if moved]
            for view in views:
                view.release()
        finally:
            self._end(job_id, keys, done)

    def _store(self, hashes: List[bytes], views: List[memoryview]) -> List[bool]:
        # The engine gives the keys in the order of a prompt, but not the one before the first.
        return [outcome.is_stored for outcome in self._cache.put(
            self._space, hashes, views, ttl_seconds=self._options.ttl_seconds, copies=self._options.copies,
            persisted=self._options.persisted)]

    def _load(self, hashes: List[bytes], views: List[memoryview]) -> List[bool]:
        return self._cache.get(self._space, hashes, views, past_misses=True)

    def _end(self, job_id: int, keys: List[Any], done: List[Any]) -> None:
        with self._changed:
            self._running.pop(job_id, None)
            self._finished.append((job_id, keys, done))
            self._changed.notify_all()


def block_hash(key: bytes) -> bytes:
    """The name of a chunk: the engine's key is a block hash and, in four bytes, the KV cache group."""
    return engine_key_hash(bytes(key[:-4]), int.from_bytes(key[-4:], "big"))


def _rows_of(job: Any) -> Any:
    rows = getattr(job, "chunk_ids", None)
    return job.block_ids if rows is None else rows


def _result(job_id: int, keys: Collection[Any], done: Collection[Any], is_load: bool) -> Any:
    success = len(done) == len(keys)
    if is_load and not success and done and _NAMES_SUCCESSES:
        return _base.JobResult(job_id=job_id, success=False, successful_keys=tuple(done))
    return _base.JobResult(job_id=job_id, success=success)


def tier_namespace(options: TierOptions, config: Any, engine: Any, row_bytes: int) -> Namespace:
    """Where the rows are. What makes their bytes what they are is there as far as the engine says it: ``config`` is what it tells
    its tiers, and ``engine`` its whole configuration, where that can be had. A row holds the parts of all ranks, so how many
    there are belongs to it, unless the engine says that it does not matter."""
    names = ["cache.tokens_per_hash", "cache.blocks_per_chunk", "worker_kv_bytes_per_block", "replicated_layout",
             "canonical_layout", "canonical_format"]
    if not _path(config, "parallel.is_parallelism_agnostic"):
        names += ["parallel.tp_size", "parallel.pp_size", "parallel.pcp_size", "parallel.dcp_size"]
    groups = [[group.tokens_per_block, list(group.layer_names)] for group in getattr(config, "groups", ())]
    order = [os.environ.get("VLLM_KV_CACHE_LAYOUT"), *(str(_path(engine, name)) for name in (
        "cache_config.kv_cache_layout", "attention_config.backend"))]  # as far as it can be known in which order a row has its bytes
    fields = {"engine": "vllm-tier/2", "layout": digest([{name: str(_path(config, name)) for name in names}, groups, order])}
    numbers = type_name(_path(config, "model.dtype") or "")
    if engine is not None:
        fields.update({"algorithm": str(_path(engine, "cache_config.prefix_caching_hash_algo") or ""), **engine_fields(engine)})
        numbers = number_format(engine)
    tokens = int(_path(config, "cache.tokens_per_hash") or 1) * int(_path(config, "cache.blocks_per_chunk") or 1)
    return Namespace(options.model, OpaqueLayout(tokens, (row_bytes,)), options.cache.tenant, options.revision, salt=options.salt,
                     number_format=numbers, fields={**fields, **options.fields})


def _path(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
