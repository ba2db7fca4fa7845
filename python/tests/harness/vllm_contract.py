"""A simulation of the contract between vLLM and a KV connector. **It is not the engine**: it calls the connector in the
order in which vLLM's scheduler and model runner do (base.py and kv_connector_model_runner_mixin.py), with block tables,
chunks, preemption and failed loads, and "computes" KV that is a function of the tokens, so that every byte can be checked.

Blocks that the engine gives back are overwritten at once: a connector that still reads them stores wrong bytes.
"""
import pickle
import sys
import types
from abc import ABC
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Dict, List, Optional, Sequence, Set, Tuple

from kvcache.engine_hashes import vllm_chain

from .paged import PagedLayer, expected_token, poison


class KVConnectorRole(Enum):
    SCHEDULER = 0
    WORKER = 1


class KVConnectorMetadata(ABC):
    pass


class KVConnectorHandshakeMetadata(ABC):
    pass


class SupportsHMA(ABC):
    pass


class KVConnectorBase_V1(ABC):
    def __init__(self, vllm_config, role, kv_cache_config=None):
        self._connector_metadata, self._role = None, role

    def bind_connector_metadata(self, metadata) -> None:
        self._connector_metadata = metadata

    def clear_connector_metadata(self) -> None:
        self._connector_metadata = None


class Scheduler:
    """Of a later version than those known: one that recovers with several groups."""

    def _update_requests_with_invalid_blocks(self, requests, invalid_block_ids):
        pass


class SchedulerOfOneGroup:
    """Of the known versions."""

    def _update_requests_with_invalid_blocks(self, requests, invalid_block_ids):
        for request in requests:
            (req_block_ids,) = self.kv_cache_manager.get_block_ids(request.request_id)


class FullAttentionSpec(SimpleNamespace):
    pass


class MLAAttentionSpec(FullAttentionSpec):
    pass


class SlidingWindowSpec(SimpleNamespace):
    pass


class MambaSpec(SimpleNamespace):
    pass


def install() -> None:
    """Puts the interfaces where vLLM has them. The real ones win where vLLM is installed."""
    path = "vllm.distributed.kv_transfer.kv_connector.v1.base"
    try:
        __import__(path)
        return
    except ImportError:
        pass
    for name in (path, "vllm.v1.core.kv_cache_utils", "vllm.v1.core.sched.scheduler"):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    for item in (KVConnectorRole, KVConnectorMetadata, KVConnectorHandshakeMetadata, SupportsHMA, KVConnectorBase_V1):
        setattr(sys.modules[path], item.__name__, item)
    sys.modules["vllm.v1.core.sched.scheduler"].Scheduler = Scheduler


@dataclass
class GroupPlan:
    """A KV cache group of the simulated model: so many layers of one layout."""
    layout: str
    layers: int = 2
    block_size: int = 4
    window: Optional[int] = None
    dtype: str = "float16"
    #: What else the engine says of the layers' cache.
    spec: dict = field(default_factory=dict)


@dataclass
class Request:
    request_id: str
    all_token_ids: List[int]
    block_size: int
    cache_salt: Optional[str] = None
    lora_request: object = None
    num_computed_tokens: int = 0
    blocks: List[List[int]] = field(default_factory=list)
    status: str = "waiting"
    loaded_tokens: int = 0
    failed_blocks: int = 0
    #: What was wrong when the engine began to compute on top of what was loaded.
    wrong_at_start: list = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return len(self.all_token_ids)

    @property
    def block_hashes(self) -> List[bytes]:
        extra = ([self.lora_request.lora_name] if self.lora_request else []) + ([self.cache_salt] if self.cache_salt else [])
        return vllm_chain(self.all_token_ids, self.block_size, "0", [tuple(extra)] if extra else ())


class Blocks:
    def __init__(self, ids: Sequence[List[int]]):
        self._ids = tuple(list(rows) for rows in ids)

    def get_block_ids(self) -> Tuple[List[int], ...]:
        return self._ids


class Engine:
    """One simulated engine with its ranks."""

    def __init__(self, settings: dict, groups: Sequence[GroupPlan], ranks: int = 1, blocks: int = 64, model: str = "m",
                 budget: int = 1 << 20, kv_role: str = "kv_both", defers_saves: bool = False, config: Optional[dict] = None):
        from kvcache.vllm import KvCacheConnector
        self.groups, self.ranks, self.block_count, self.budget = list(groups), ranks, blocks, budget
        self.hash_block = min(group.block_size for group in groups)
        self._defers_saves = defers_saves
        kv_config = SimpleNamespace(num_blocks=blocks, kv_cache_groups=[
            SimpleNamespace(layer_names=self.layer_names(index), kv_cache_spec=_spec(group))
            for index, group in enumerate(self.groups)])

        def connector(role, rank):
            config_of = SimpleNamespace(
                kv_transfer_config=SimpleNamespace(kv_connector_extra_config=settings, kv_role=kv_role,
                                                   kv_load_failure_policy="recompute"),
                model_config=SimpleNamespace(model=model, revision=None),
                parallel_config=SimpleNamespace(tensor_parallel_size=ranks, pipeline_parallel_size=1, rank=rank),
                cache_config=SimpleNamespace(block_size=self.hash_block, prefix_caching_hash_algo="sha256_cbor"))
            for path, value in (config or {}).items():  # "cache_config.cache_dtype": further settings of the engine
                section, _, name = path.partition(".")
                vars(config_of).setdefault(section, SimpleNamespace())
                setattr(getattr(config_of, section), name, value)
            return KvCacheConnector(config_of, role, kv_config)
        self.scheduler = connector(KVConnectorRole.SCHEDULER, 0)
        self.workers = [connector(KVConnectorRole.WORKER, rank) for rank in range(ranks)]
        self.caches: List[Dict[str, PagedLayer]] = []
        for rank, worker in enumerate(self.workers):
            layers = {name: PagedLayer(group.layout, blocks, group.block_size, group.dtype)
                      for index, group in enumerate(self.groups) for name in self.layer_names(index)}
            self.caches.append(layers)
            worker.register_kv_caches({name: layer.tensor for name, layer in layers.items()})
        self.scheduler.set_xfer_handshake_metadata(
            {rank: pickle.loads(pickle.dumps(worker.get_handshake_metadata())) for rank, worker in enumerate(self.workers)})
        # Block 0 is the null block.
        self.free: List[int] = list(range(blocks - 1, 0, -1))
        self.requests: Dict[str, Request] = {}
        self.waits_for_free: Dict[str, List[List[int]]] = {}
        self.finished_ids: Set[str] = set()
        self.preempted_ids: Set[str] = set()
        self._recving: Dict[str, int] = {}
        self._sending: Dict[str, int] = {}
        self.asked_again = 0

    def layer_names(self, group: int) -> List[str]:
        return [f"model.layers.{group}.{layer}.attn" for layer in range(self.groups[group].layers)]

    def close(self) -> None:
        for worker in self.workers:
            worker.shutdown()
        self.scheduler.shutdown()

    def add(self, request_id: str, tokens: Sequence[int], **fields) -> Request:
        request = self.requests[request_id] = Request(request_id, list(tokens), self.hash_block, **fields)
        return request

    def step(self) -> None:
        """One step: plan, run on every rank, take in what the ranks say."""
        new, cached, scheduled = [], _cached(), {}
        for request in list(self.requests.values()):
            if request.status == "waiting":
                self._admit(request)
            if request.status in ("ready", "running", "resumed"):
                self._schedule(request, new, cached, scheduled)
        output = SimpleNamespace(scheduled_new_reqs=new, scheduled_cached_reqs=cached, num_scheduled_tokens=scheduled,
                                 finished_req_ids=self.finished_ids, preempted_req_ids=self.preempted_ids)
        metadata = self.scheduler.build_connector_meta(output)
        finished, self.finished_ids, preempted, self.preempted_ids = self.finished_ids, set(), self.preempted_ids, set()
        bad: Set[int] = set()
        for rank, worker in enumerate(self.workers):
            bound = pickle.loads(pickle.dumps(metadata))
            if preempted:
                worker.handle_preemptions(bound)
            self._overwrite_freed(rank)
            worker.bind_connector_metadata(bound)
            worker.start_load_kv(None)
            if scheduled:
                self._forward(rank, worker, scheduled)
            if scheduled and not self._defers_saves:
                worker.wait_for_save()
            sent, received = worker.get_finished(finished)
            bad |= worker.get_block_ids_with_load_errors()
            if scheduled and self._defers_saves:
                worker.wait_for_save()
            worker.clear_connector_metadata()
            for ids, counts in ((sent, self._sending), (received, self._recving)):
                for request_id in ids or ():
                    counts[request_id] = counts.get(request_id, 0) + 1
        self._take_in(bad)
        for request_id, count in scheduled.items():
            self.requests[request_id].num_computed_tokens += count

    def run(self, request: Request, steps: int = 2000) -> None:
        """Steps until all tokens of a request are computed."""
        for _ in range(steps):
            if request.num_computed_tokens >= request.num_tokens and request.status == "running":
                return
            self.step()
        raise AssertionError(f"{request.request_id} is still {request.status} after {steps} steps")

    def finish(self, request: Request) -> None:
        """Ends a request, as the scheduler does: its blocks go when the connector lets them go."""
        delays, _ = self.scheduler.request_finished_all_groups(request, tuple(request.blocks))
        self.finished_ids.add(request.request_id)
        del self.requests[request.request_id]
        if delays:
            self.waits_for_free[request.request_id] = request.blocks
        else:
            self._release(request.blocks)

    def settle(self, steps: int = 20000) -> None:
        """Steps until no finished request keeps its blocks."""
        for _ in range(steps):
            if not self.waits_for_free:
                return
            self.step()
        raise AssertionError(f"{list(self.waits_for_free)} were never reported")

    def preempt(self, request: Request) -> None:
        """Takes the blocks of a request away; it begins anew."""
        self._release(request.blocks)
        request.blocks, request.num_computed_tokens, request.status = [], 0, "waiting"
        request.was_scheduled = True
        self.preempted_ids.add(request.request_id)

    def wrong_tokens(self, request: Request) -> List[Tuple[int, str, int]]:
        """Tokens whose KV is not that of their prefix, as (rank, layer, token); of windows only the last ones."""
        wrong = list(request.wrong_at_start)
        for rank, layers in enumerate(self.caches):
            for index, group in enumerate(self.groups):
                first = 0 if group.window is None else max(0, request.num_computed_tokens - group.window + 1)
                for name in self.layer_names(index):
                    for token in range(first, request.num_computed_tokens):
                        block = request.blocks[index][token // group.block_size]
                        got = layers[name].token(block, token % group.block_size)
                        want = expected_token(request, token, name, rank if group.layout != "MLA" else 0, got)
                        if not (got == want).all():
                            wrong.append((rank, name, token))
        return wrong

    def _admit(self, request: Request) -> None:
        external, is_async = self.scheduler.get_num_new_matched_tokens(request, 0)
        if external is None:
            self.asked_again += 1
            return
        needed = external if is_async else request.num_tokens
        if not self._grow(request, needed, external):
            self._release(request.blocks)
            request.blocks = []
            return
        self.scheduler.update_state_after_alloc(request, Blocks(request.blocks), external)
        request.status = "loading" if is_async else "ready"
        request.loaded_tokens = external
        request.num_computed_tokens = external if is_async else 0

    def _schedule(self, request: Request, new: list, cached, scheduled: Dict[str, int]) -> None:
        count = min(self.budget, request.num_tokens - request.num_computed_tokens)
        if count <= 0:
            return
        before = [len(rows) for rows in request.blocks]
        self._leave_windows(request)
        if not self._grow(request, request.num_computed_tokens + count):
            return
        if request.status == "ready" and request.loaded_tokens:
            request.wrong_at_start = self.wrong_tokens(request)
            self.scheduler.update_state_after_alloc(request, Blocks(request.blocks), 0)
        if request.status == "ready" and not getattr(request, "was_scheduled", False):
            new.append(SimpleNamespace(req_id=request.request_id, block_ids=tuple(map(list, request.blocks)),
                                       num_computed_tokens=request.num_computed_tokens))
        else:
            resumed = request.status == "ready"
            cached.req_ids.append(request.request_id)
            cached.num_computed_tokens.append(request.num_computed_tokens)
            cached.new_block_ids.append(tuple(list(rows) if resumed else rows[start:]
                                              for rows, start in zip(request.blocks, before)))
            if resumed:
                cached.resumed_req_ids.add(request.request_id)
        request.status = "running"
        scheduled[request.request_id] = count

    def _grow(self, request: Request, tokens: int, external: int = 0) -> bool:
        request.blocks = request.blocks or [[] for _ in self.groups]
        for group, rows in zip(self.groups, request.blocks):
            skipped = 0 if group.window is None else max(0, external - group.window + 1) // group.block_size
            while len(rows) < -(-tokens // group.block_size):
                if len(rows) < skipped:
                    rows.append(0)
                elif self.free:
                    rows.append(self.free.pop())
                else:
                    return False
        return True

    def _leave_windows(self, request: Request) -> None:
        for group, rows in zip(self.groups, request.blocks):
            if group.window is not None:
                for row in range(max(0, request.num_computed_tokens - group.window + 1) // group.block_size):
                    if rows[row]:
                        self.free.insert(0, rows[row])
                        rows[row] = 0

    def _forward(self, rank: int, worker, scheduled: Dict[str, int]) -> None:
        for index, group in enumerate(self.groups):
            for name in self.layer_names(index):
                worker.wait_for_layer_load(name)
                layer = self.caches[rank][name]
                for request_id, count in scheduled.items():
                    request = self.requests[request_id]
                    for token in range(request.num_computed_tokens, request.num_computed_tokens + count):
                        slot = layer.token(request.blocks[index][token // group.block_size], token % group.block_size)
                        slot.copy_(expected_token(request, token, name, rank if group.layout != "MLA" else 0, slot))
                worker.save_kv_layer(name, layer.tensor, None)

    def _take_in(self, bad: Set[int]) -> None:
        received = {request_id for request_id, count in self._recving.items() if count == self.ranks}
        sent = {request_id for request_id, count in self._sending.items() if count == self.ranks}
        self.scheduler.update_connector_output(SimpleNamespace(
            finished_sending=sent, finished_recving=received, invalid_block_ids=bad))
        for request in self.requests.values():
            if request.status == "loading" and bad:
                self._truncate(request, bad)
        for request_id in received:
            del self._recving[request_id]
            request = self.requests.get(request_id)
            if request is not None and request.num_computed_tokens:
                request.status = "ready"
            elif request is not None:
                # Nothing of it is valid: the blocks go, and it begins anew.
                self._release(request.blocks)
                request.blocks, request.status = [], "waiting"
        for request_id in sent:
            del self._sending[request_id]
            self._release(self.waits_for_free.pop(request_id))

    def _truncate(self, request: Request, bad: Set[int]) -> None:
        """The policy "recompute": the request goes on from before its first block that failed."""
        for group, rows in zip(self.groups, request.blocks):
            for row, block in enumerate(rows):
                if block in bad:
                    request.failed_blocks += 1
                    request.num_computed_tokens = min(request.num_computed_tokens, row * group.block_size)

    def _release(self, blocks: List[List[int]]) -> None:
        for rows in blocks:
            self.free[:0] = [block for block in rows if block]

    def _overwrite_freed(self, rank: int) -> None:
        for layer in self.caches[rank].values():
            poison(layer, self.free)


def _spec(group: GroupPlan) -> SimpleNamespace:
    if group.window is not None:
        return SlidingWindowSpec(block_size=group.block_size, sliding_window=group.window, **group.spec)
    return (MLAAttentionSpec if group.layout == "MLA" else FullAttentionSpec)(block_size=group.block_size, sliding_window=None, **group.spec)


def _cached() -> SimpleNamespace:
    return SimpleNamespace(req_ids=[], new_block_ids=[], num_computed_tokens=[], resumed_req_ids=set())
