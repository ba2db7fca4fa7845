"""A simulation of the contract between vLLM's TieringOffloadingManager and a secondary tier. **It is not the engine**: a CPU
tier of rows, promotion on a hit, cascade of what is stored, one step after the other as the scheduler takes them."""
import sys
import types
from dataclasses import dataclass, field
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any, Collection, Dict, List, Optional

import numpy


class LookupResult(Enum):
    MISS = auto()
    HIT = auto()
    HIT_PENDING = auto()
    RETRY = auto()


class RequestOffloadingContext:
    pass


@dataclass
class TransferJob:
    job_id: int
    keys: Collection[bytes]
    chunk_ids: Any
    is_promotion: bool
    req_context: Any


@dataclass
class JobMetadata:
    job_id: int
    keys: Collection[bytes]
    block_ids: Any
    is_promotion: bool
    req_context: Any


@dataclass
class JobResult:
    job_id: int
    success: bool
    successful_keys: Optional[Collection[bytes]] = None


class SecondaryTierManager:
    def __init__(self, offloading_spec, primary_kv_view, tier_type):
        self._primary_kv_view, self.tier_type = primary_kv_view, tier_type


def install() -> None:
    """Puts the interfaces where vLLM has them. The real ones win where vLLM is installed."""
    base, tiering = "vllm.v1.kv_offload.base", "vllm.v1.kv_offload.tiering.base"
    try:
        __import__(tiering)
        return
    except ImportError:
        pass
    for name in (base, tiering):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    sys.modules[base].LookupResult, sys.modules[base].RequestOffloadingContext = LookupResult, RequestOffloadingContext
    sys.modules[tiering].JobResult, sys.modules[tiering].SecondaryTierManager = JobResult, SecondaryTierManager


def spec(model: str = "m", tp_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(
        model=SimpleNamespace(name=model, dtype="bfloat16"), cache=SimpleNamespace(tokens_per_hash=16, blocks_per_chunk=2),
        parallel=SimpleNamespace(is_parallelism_agnostic=False, tp_size=tp_size, pp_size=1, pcp_size=1, dcp_size=1),
        worker_kv_bytes_per_block=100, groups=(SimpleNamespace(tokens_per_block=16, layer_names=("a", "b")),)))


@dataclass
class Primary:
    """The CPU tier with one secondary tier behind it."""
    tier: Any = None
    rows: int = 16
    row_bytes: int = 200
    job_type: Any = TransferJob
    held: Dict[bytes, int] = field(default_factory=dict)
    loading: Dict[bytes, int] = field(default_factory=dict)
    jobs: Dict[int, Any] = field(default_factory=dict)
    pending: List[bytes] = field(default_factory=list)
    results: List[JobResult] = field(default_factory=list)
    ended: List[Any] = field(default_factory=list)

    def __post_init__(self):
        self.memory = numpy.zeros((self.rows, self.row_bytes), dtype=numpy.uint8)
        self.view = memoryview(self.memory)
        self.free = list(range(self.rows))
        self.steps = 0

    def store(self, contents: Dict[bytes, bytes], context) -> int:
        """A request's chunks come from the GPU, and cascade to the secondary tier."""
        for key, content in contents.items():
            self.held[key] = self.free.pop()
            self.memory[self.held[key]] = numpy.frombuffer(content, dtype=numpy.uint8)
        return self._submit(self.tier.submit_store, list(contents), [self.held[key] for key in contents], False, context)

    def evict(self, keys) -> None:
        for key in keys:
            self.memory[self.held[key]] = 0xEE
            self.free.append(self.held.pop(key))

    def lookup(self, key: bytes, context):
        if key in self.held:
            return LookupResult.HIT
        if key in self.loading:
            return LookupResult.RETRY
        found = self.tier.lookup(key, context)
        if found == LookupResult.HIT:
            if not self.free:
                return LookupResult.MISS
            self.loading[key] = self.free.pop()
            self.pending.append(key)
            return LookupResult.RETRY
        return found

    def end_step(self, context) -> None:
        self.steps += 1
        if self.pending:
            keys, self.pending = self.pending, []
            self._submit(self.tier.submit_load, keys, [self.loading[key] for key in keys], True, context)
        self.tier.on_schedule_end(SimpleNamespace(new_req_ids=(), preempted_req_ids=()))

    def process(self) -> None:
        for result in self.tier.get_finished_jobs():
            job = self.jobs.pop(result.job_id)
            self.results.append(result)
            self.ended.append((job, result))
            if not job.is_promotion:
                continue
            for key in job.keys:
                row = self.loading.pop(key)
                if result.success or key in (result.successful_keys or ()):
                    self.held[key] = row
                else:
                    self.free.append(row)

    def prefix(self, keys, context, steps: int = 1_000_000) -> int:
        """How many leading chunks a request gets, stepping until nothing is to be waited for."""
        self.tier.on_new_request(context)
        for _ in range(steps):
            self.process()
            answers = []
            for key in keys:
                answers.append(self.lookup(key, context))
                if answers[-1] == LookupResult.MISS:
                    break
            self.end_step(context)
            if LookupResult.RETRY not in answers:
                self.tier.on_request_finished(context)
                return answers.count(LookupResult.HIT)
        raise AssertionError("the tier never answered")

    def settle(self, steps: int = 1_000_000) -> None:
        for _ in range(steps):
            self.process()
            if not self.jobs:
                return
        raise AssertionError(f"jobs {list(self.jobs)} never ended")

    def _submit(self, submit, keys, rows, is_promotion, context) -> int:
        job_id = len(self.results) + len(self.jobs) + 1000
        job = self.jobs[job_id] = self.job_type(job_id, keys, numpy.array(rows), is_promotion, context)
        submit(job)
        return job_id
