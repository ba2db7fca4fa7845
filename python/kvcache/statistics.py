"""What became of the calls of a cache, and how long they took."""
from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, NamedTuple

#: Buckets for each power of two, and powers of two: from 1 µs to 17 minutes.
_SUB, _POWERS = 4, 30


class Latency(NamedTuple):
    """How long the calls of one kind took, in seconds. Percentiles are at most a quarter too high, never above ``longest``."""
    calls: int
    average: float
    p50: float
    p95: float
    p99: float
    longest: float


class Histogram:
    """Counts durations in logarithmic buckets, in a memory that does not grow. Its owner has the lock."""

    def __init__(self) -> None:
        self._counts: List[int] = [0] * (_SUB * _POWERS)
        self._total = self._longest = 0.0

    def add(self, seconds: float) -> None:
        # m * 2**e with m from 0.5 to 1: the power, and four steps between it and the next.
        mantissa, power = math.frexp(max(seconds * 1e6, 1.0))
        self._counts[min(_SUB * (power - 1) + int(mantissa * 2 * _SUB) - _SUB, len(self._counts) - 1)] += 1
        self._total += seconds
        self._longest = max(self._longest, seconds)

    def summary(self) -> Latency:
        count = sum(self._counts)
        p50, p95, p99 = (self._percentile(math.ceil(count * share)) for share in (0.5, 0.95, 0.99))
        return Latency(count, self._total / count if count else 0.0, p50, p95, p99, self._longest)

    def _percentile(self, wanted: int) -> float:
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                power, step = divmod(bucket, _SUB)
                return min(2 ** power * (1 + (step + 1) / _SUB) / 1e6, self._longest)
        return 0.0


@dataclass
class Statistics:
    """What became of the calls of a cache, counted in blocks where it says so."""
    matched_blocks: int = 0
    read_blocks: int = 0
    missed_blocks: int = 0
    read_bytes: int = 0
    read_tokens: int = 0
    stored_blocks: int = 0
    refused_blocks: int = 0
    #: Calls that nobody could answer in time; each was a miss for its caller.
    failed_calls: int = 0
    #: The latest failure in words, whenever that was.
    last_failure: str = ""
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    _times: Dict[str, Histogram] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def hit_rate(self) -> float:
        """The share of the blocks that were to be read and were, 0 to 1; 0 when none was to be."""
        with self._lock:
            wanted = self.read_blocks + self.missed_blocks
            return self.read_blocks / wanted if wanted else 0.0

    @property
    def match_latency(self) -> Latency:
        return self._latency("match")

    @property
    def get_latency(self) -> Latency:
        return self._latency("get")

    @property
    def put_latency(self) -> Latency:
        return self._latency("put")

    def time_saved(self, prefill_tokens_per_second: float) -> float:
        """Seconds that computing the tokens that were read would have taken, less what matches and reads took."""
        if not prefill_tokens_per_second > 0:
            raise ValueError(f"prefill_tokens_per_second: more than 0 was expected, and is {prefill_tokens_per_second!r}")
        spent = sum(latency.calls * latency.average for latency in (self.match_latency, self.get_latency))
        return self.read_tokens / prefill_tokens_per_second - spent

    def reset(self) -> None:
        """Counts from zero again."""
        with self._lock:
            for item in fields(self):
                if item.init:
                    setattr(self, item.name, item.default)
            self._times.clear()

    def as_dict(self) -> Dict[str, Any]:
        """All of it, fit for JSON; latencies in seconds."""
        counts = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        times = {name: getattr(self, name)._asdict() for name in ("match_latency", "get_latency", "put_latency")}
        return {**counts, "hit_rate": self.hit_rate, **times}

    def __str__(self) -> str:
        """A line for a log."""
        times = ", ".join(f"{name} p50 {latency.p50 * 1000:.2f} p99 {latency.p99 * 1000:.2f} ms"
                          for name, latency in (("match", self.match_latency), ("get", self.get_latency), ("put", self.put_latency)))
        failure = f", the last: {self.last_failure}" if self.last_failure else ""
        return (f"{self.hit_rate:.1%} of {self.read_blocks + self.missed_blocks} blocks read, {self.stored_blocks} stored, "
                f"{self.refused_blocks} refused; {times}; {self.failed_calls} calls failed{failure}")

    def add(self, operation: str = "", began: float = 0.0, **counts: int) -> None:
        """Counts a call; with its kind (``match``, ``get`` or ``put``) and when it began (``time.perf_counter``) its time too."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)
            if operation:
                self._times.setdefault(operation, Histogram()).add(time.perf_counter() - began)

    def fail(self, reason: str) -> None:
        """Counts a call that failed."""
        with self._lock:
            self.failed_calls += 1
            self.last_failure = reason

    def _latency(self, operation: str) -> Latency:
        with self._lock:
            return self._times.get(operation, _NONE).summary()


_NONE = Histogram()
