"""``KvCacheConnector``: vLLM's KV connector interface (``KVConnectorBase_V1``) on top of KvCache."""
from __future__ import annotations

import inspect
import logging
import os
from importlib import import_module
from typing import Any, Dict, Iterable, Optional, Sequence, Set, Tuple

from .._engines import engine_module, never_raises
from .groups import alignment, grouped_tokens, read_groups
from .identity import engine_fields, number_format
from .messages import Transfers, WorkerSpaces
from .options import ConnectorOptions

_base = engine_module("vllm.distributed.kv_transfer.kv_connector.v1.base", "KvCacheConnector", "vLLM 0.19 or newer")

# After the engine, whose absence has a better sentence than that of torch.
from .scheduler import ConnectorScheduler  # noqa: E402
from .worker import ConnectorWorker  # noqa: E402

logger = logging.getLogger("kvcache")


class KvCacheMetadata(_base.KVConnectorMetadata):  # type: ignore[name-defined,misc]
    """From the scheduler to the workers, once a step."""

    def __init__(self, transfers: Transfers):
        self.transfers = transfers


class KvCacheHandshake(_base.KVConnectorHandshakeMetadata):  # type: ignore[name-defined,misc]
    """From a worker to the scheduler, once: where it stores."""

    def __init__(self, spaces: WorkerSpaces):
        self.spaces = spaces


class KvCacheConnector(_base.KVConnectorBase_V1, _base.SupportsHMA):  # type: ignore[name-defined,misc]
    """Loads prefixes from KvCache and saves what is computed, while the engine goes on.

    A cache that is down costs the engine nothing but the recomputation: no call waits for the network longer than
    ``lookup_wait``, and none raises.
    """

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any = None):
        """Settings come from ``kv_connector_extra_config``; see ``ConnectorOptions``. Wrong ones are an error here."""
        super().__init__(vllm_config, role, kv_cache_config)
        transfer = vllm_config.kv_transfer_config
        options = _options(vllm_config, transfer.kv_connector_extra_config or {})
        self._scheduler: Optional[ConnectorScheduler] = None
        self._worker: Optional[ConnectorWorker] = None
        parallel = vllm_config.parallel_config
        try:
            groups = _groups(vllm_config, kv_cache_config)
            hash_block_size = _hash_block_size(vllm_config, kv_cache_config, groups)
        except ValueError as error:
            logger.error("KvCache is not used: %s", error)
            return
        unit = alignment(groups)
        tokens_per_block = grouped_tokens(options.tokens_per_block, unit)
        kv_role = getattr(transfer, "kv_role", "kv_both") or "kv_both"
        workers = parallel.tensor_parallel_size * parallel.pipeline_parallel_size
        if role == _base.KVConnectorRole.SCHEDULER:
            _warn(vllm_config, transfer)
            self._scheduler = ConnectorScheduler(options, groups, tokens_per_block, hash_block_size, workers,
                                                 kv_role != "kv_producer" and _may_load(options, groups),
                                                 kv_role != "kv_consumer")
        else:
            identity = {"algorithm": str(getattr(vllm_config.cache_config, "prefix_caching_hash_algo", "")),
                        "pipeline": f"{parallel.rank // parallel.tensor_parallel_size}/{parallel.pipeline_parallel_size}",
                        **engine_fields(vllm_config)}
            self._worker = ConnectorWorker(options, groups, kv_cache_config.num_blocks, tokens_per_block, parallel.rank,
                                           parallel.tensor_parallel_size, number_format(vllm_config), identity)

    @property
    def requires_kv_delivery(self) -> bool:
        """A save that is lost is a miss later, nothing that a request waits for."""
        return False

    # The scheduler's side.

    @never_raises(lambda: (0, False))
    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> Tuple[Optional[int], bool]:
        return self._scheduler.matched(request, num_computed_tokens) if self._scheduler else (0, False)

    @never_raises(lambda: None)
    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        if self._scheduler:
            self._scheduler.allocated(request, blocks, num_external_tokens)

    @never_raises(lambda: KvCacheMetadata(Transfers()))
    def build_connector_meta(self, scheduler_output: Any) -> KvCacheMetadata:
        return KvCacheMetadata(self._scheduler.build(scheduler_output) if self._scheduler else Transfers())

    @never_raises(lambda: None)
    def update_connector_output(self, connector_output: Any) -> None:
        if self._scheduler:
            failed = getattr(connector_output, "invalid_block_ids", None) or ()
            self._scheduler.loaded(connector_output.finished_recving or (), set(failed))

    @never_raises(lambda: (False, None))
    def request_finished(self, request: Any, block_ids: Any) -> Tuple[bool, Optional[Dict[str, Any]]]:
        return bool(self._scheduler and self._scheduler.finished(request)), None

    @never_raises(lambda: (False, None))
    def request_finished_all_groups(self, request: Any, block_ids: Any) -> Tuple[bool, Optional[Dict[str, Any]]]:
        return self.request_finished(request, block_ids)

    @never_raises(lambda: None)
    def set_xfer_handshake_metadata(self, metadata: Dict[Any, Any]) -> None:
        if self._scheduler:
            self._scheduler.set_workers(handshake.spaces for handshake in metadata.values())

    @never_raises(lambda: None)
    def set_xfer_handshake_metadata_pp_aware(self, metadata: Dict[Any, Any]) -> None:
        """The same from newer engines, by pipeline and tensor rank."""
        self.set_xfer_handshake_metadata(metadata)

    @never_raises(lambda: False)
    def reset_cache(self) -> Optional[bool]:
        """Forgets what is known of requests. The cluster keeps its blocks, which are other engines' too, so this is not a
        reset in the sense of changed weights: those need another ``revision`` or ``salt``."""
        if self._scheduler:
            self._scheduler.forget_lookups()
            logger.warning("the blocks stored in KvCache stay; weights that changed need another revision or salt")
        return False

    # The workers' side.

    @never_raises(lambda: None)
    def register_kv_caches(self, kv_caches: Dict[str, Any]) -> None:
        if self._worker:
            self._worker.register(kv_caches)

    @never_raises(lambda: None)
    def get_handshake_metadata(self) -> Optional[KvCacheHandshake]:
        spaces = self._worker.spaces() if self._worker else None
        return KvCacheHandshake(spaces) if spaces else None

    @never_raises(lambda: None)
    def handle_preemptions(self, preempted: Any) -> None:
        """Takes the step's metadata, or in older engines the ids."""
        if self._worker:
            self._worker.preempted(preempted.transfers.preempted if isinstance(preempted, KvCacheMetadata) else preempted)

    @never_raises(lambda: None)
    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        if self._worker and self._connector_metadata is not None:
            self._worker.begin_step(self._connector_metadata.transfers)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing to wait for: a request is not scheduled before its load ended."""

    @never_raises(lambda: None)
    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        if self._worker:
            self._worker.save_layer(layer_name)

    @never_raises(lambda: None)
    def wait_for_save(self) -> None:
        if self._worker:
            self._worker.end_step()

    @never_raises(lambda: (None, None))
    def get_finished(self, finished_req_ids: Set[str]) -> Tuple[Optional[Set[str]], Optional[Set[str]]]:
        return self._worker.finished(finished_req_ids) if self._worker else (None, None)

    @never_raises(set)
    def get_block_ids_with_load_errors(self) -> Set[int]:
        return self._worker.failed_blocks() if self._worker else set()

    @never_raises(lambda: None)
    def shutdown(self) -> None:
        for side in (self._worker, self._scheduler):
            if side:
                side.stop()


def _options(vllm_config: Any, settings: Dict[str, Any]) -> ConnectorOptions:
    """The settings, with the engine's model where they name none."""
    model = vllm_config.model_config
    named = {"model": str(model.model), "revision": str(getattr(model, "revision", None) or ""), **settings}
    return ConnectorOptions.from_mapping(named)


def _groups(vllm_config: Any, kv_cache_config: Any) -> Any:
    """The KV cache groups; ``ValueError`` when this engine's KV cannot be stored."""
    if kv_cache_config is None:
        raise ValueError("the engine passes no kv_cache_config; vLLM 0.19 or newer is needed")
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(vllm_config.parallel_config, name, 1) > 1:
            raise ValueError(f"{name} is more than 1, and ranks then hold parts of blocks")
    return read_groups(kv_cache_config)


def _hash_block_size(vllm_config: Any, kv_cache_config: Any, groups: Iterable[Any]) -> int:
    """Tokens that one of the engine's block hashes stands for. Newer engines say it; in older ones it is the smallest
    block size."""
    resolve = getattr(import_module("vllm.v1.core.kv_cache_utils"), "resolve_kv_cache_block_sizes", None)
    if resolve is not None:
        size = resolve(kv_cache_config, vllm_config)[1]
    else:
        size = min([vllm_config.cache_config.block_size] + [group.block_size for group in groups])
    if any(group.block_size % size for group in groups):
        raise ValueError(f"block hashes of {size} tokens do not fit the groups' blocks")
    return int(size)


def _may_load(options: ConnectorOptions, groups: Sequence[Any]) -> bool:
    """Whether a load that fails costs no more than its blocks. vLLM's recovery takes the blocks of one group only; with
    several, the first failed load ends an engine whose scheduler is of that kind."""
    if len(groups) < 2 or options.hybrid_loads == "on":
        return True
    recover = getattr(import_module("vllm.v1.core.sched.scheduler").Scheduler, "_update_requests_with_invalid_blocks", None)
    able = recover is not None and "(req_block_ids,) =" not in inspect.getsource(recover)
    if not able or options.hybrid_loads == "off":
        logger.warning("KvCache saves but does not load: the model has %d KV cache groups%s", len(groups),
                       "" if able else ", and this engine does not survive a load of theirs that fails")
    return able and options.hybrid_loads == "auto"


def _warn(vllm_config: Any, transfer: Any) -> None:
    """Settings of the engine that make the cache useless or dangerous."""
    if not os.environ.get("PYTHONHASHSEED"):
        logger.warning("PYTHONHASHSEED is not set: block hashes of this engine are its own, and nothing is shared")
    if getattr(transfer, "kv_load_failure_policy", "recompute") != "recompute":
        logger.warning('kv_load_failure_policy is not "recompute": a block that cannot be loaded fails its request')
