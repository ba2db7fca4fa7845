"""Host memory for blocks between the KV cache and the network."""
from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any, Dict, List, Optional

import torch

from ..forks import renews_after_fork


class StagingPool:
    """Buffers of whole blocks, kept for reuse: fresh memory is slow, and pinning it slower. Together they stay under a
    budget, but one block is always possible."""

    def __init__(self, budget: int, device: Any):
        """Host memory for a KV cache on ``device``; pinned when that is a GPU."""
        self._budget, self._device = budget, device
        self.after_fork()
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: buffers are made anew; the parent's are in use there."""
        self._used = 0
        self._free: Dict[int, List[Any]] = defaultdict(list)
        self._changed = threading.Condition()

    def capacity(self, size: int) -> int:
        """How many blocks of a size there may be at a time."""
        return max(1, self._budget // size)

    def take(self, size: int, wait: float = 0.0) -> Optional[Any]:
        """A buffer of ``size`` bytes, or None when none came free in time."""
        until = time.monotonic() + wait
        with self._changed:
            while True:
                if self._free[size]:
                    return self._free[size].pop()
                if self._used and self._used + size > self._budget:
                    self._drop_other_sizes(size)
                if not self._used or self._used + size <= self._budget:
                    self._used += size
                    break
                if not self._changed.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    return None
        try:
            return self._allocate(size)
        except RuntimeError:
            with self._changed:
                self._used -= size
            return None

    def give(self, buffer: Any) -> None:
        """Takes a buffer back."""
        with self._changed:
            self._free[buffer.numel()].append(buffer)
            self._changed.notify_all()

    def _allocate(self, size: int) -> Any:
        if self._device.type != "cuda":
            return torch.empty(size, dtype=torch.uint8)
        # Threads begin on the first GPU, whose memory a context for pinning would take in every worker.
        with torch.cuda.device(self._device):
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def _drop_other_sizes(self, size: int) -> None:
        for other, buffers in self._free.items():
            while other != size and buffers and self._used + size > self._budget:
                buffers.pop()
                self._used -= other
