"""How much of a prompt is stored, found out beside the scheduler's thread."""
from __future__ import annotations

import threading
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple

from ..cache import Cache, Found
from ..deadline import Deadline
from ..hashing import Namespace
from .groups import Group, request_extra, run_hashes
from .options import ConnectorOptions

# How often a sliding window is moved to the front until all of it is stored.
WINDOW_STEPS = 16


class Lookup:
    """One question to the cluster. ``tokens`` is the answer, when ``done`` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.began = time.monotonic()
        self.tokens = 0
        #: What the engine had itself when it asked last.
        self.computed = 0
        self._holds: List[Found] = []
        self._lock = threading.Lock()
        self._is_released = False

    def hold(self, found: Found) -> None:
        """Notes what keeps the found blocks; lets them go at once when nobody waits any more."""
        with self._lock:
            if not self._is_released:
                self._holds.append(found)
                return
        found.release()

    def take_holds(self) -> List[Found]:
        """What is to be released when the blocks are loaded, or not wanted any more."""
        with self._lock:
            self._is_released = True
            holds, self._holds = self._holds, []
            return holds


class PrefixFinder:
    """Finds the longest prefix that a request can load: all of it in groups that see everything, and the end of it in
    groups that see a window; on every rank."""

    def __init__(self, cache: Cache, options: ConnectorOptions, groups: Sequence[Group], tokens_per_block: int,
                 hashes_per_block: int):
        self._cache, self._options, self._groups = cache, options, groups
        self._tokens_per_block, self._hashes_per_block = tokens_per_block, hashes_per_block
        #: For every group the namespaces of its ranks; empty until the workers have named them.
        self.namespaces: List[List[Namespace]] = []

    def hashes(self, request: Any, group: Group, first: int, last: int) -> List[bytes]:
        """Names of the runs ``first`` to ``last`` (not included) of a request."""
        return run_hashes(request.block_hashes, self._hashes_per_block, group.index, request_extra(request), first, last)

    def question(self, request: Any, most_tokens: int) -> Callable[[Lookup], None]:
        """The search for a request. What it needs of the request is taken now: the engine goes on changing it."""
        runs = min(len(request.block_hashes) // self._hashes_per_block, -(-most_tokens // self._tokens_per_block))
        names = [self.hashes(request, group, 0, runs) for group in self._groups]
        deadline = Deadline(self._options.cache.match_timeout)

        def search(lookup: Lookup) -> None:
            try:
                lookup.tokens = self._search(lookup, names, runs, deadline) * self._tokens_per_block
            finally:
                lookup.done.set()
        return search

    def _search(self, lookup: Lookup, names: List[List[bytes]], runs: int, deadline: Deadline) -> int:
        for group in (group for group in self._groups if group.window is None):
            runs = min(runs, self._match(lookup, group, names, 0, runs, deadline))
        for _ in range(WINDOW_STEPS):
            windows = [(group, group.first_needed(runs * self._tokens_per_block) // self._tokens_per_block)
                       for group in self._groups if group.window is not None]
            ends = [first + self._match(lookup, group, names, first, runs, deadline) for group, first in windows]
            if not runs or min(ends, default=runs) == runs:
                return runs
            # What ends before the first gap may be whole: its window lies further in front.
            runs = min(ends)
        return 0

    def _match(self, lookup: Lookup, group: Group, names: List[List[bytes]], first: int, last: int,
               deadline: Deadline) -> int:
        if first >= last or deadline.passed:
            return 0
        found = self._cache.match(self.namespaces[group.index], names[group.index][first:last],
                                  int(self._options.hold * 1000), deadline)
        lookup.hold(found)
        return found.count


def wait_for(lookup: Lookup, seconds: float, patience: float) -> Tuple[bool, Optional[int]]:
    """Whether the answer is there, or does not come any more; and the answer."""
    if lookup.done.wait(seconds):
        return True, lookup.tokens
    return time.monotonic() - lookup.began > patience, 0
