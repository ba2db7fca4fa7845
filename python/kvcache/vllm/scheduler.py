"""The scheduler's side of the connector."""
from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from .._engines import complaints
from ..cache import Cache
from ..forks import renews_after_fork
from .groups import NULL_BLOCK, Group, alignment
from .lookups import Lookup, PrefixFinder, wait_for
from .messages import SKIPPED, GroupRuns, Transfers, WorkerSpaces
from .options import ConnectorOptions
from .workers import BoundedWorkers

logger = logging.getLogger("kvcache")

Blocks = Tuple[List[int], ...]


@dataclass
class Tracked:
    """A request that the engine works on."""
    request: Any
    blocks: List[List[int]] = field(default_factory=list)
    #: Runs that are stored, or on their way: nothing of them is saved again.
    saved_runs: int = 0
    #: Tokens that were cached, here or in the cluster, when the engine began to compute.
    cached_tokens: int = 0
    #: Whether workers were told to save something: then they say when its blocks are free.
    is_saving: bool = False


class ConnectorScheduler:
    """Decides what is loaded and saved. Its calls come from one thread, the scheduler's."""

    def __init__(self, options: ConnectorOptions, groups: Sequence[Group], tokens_per_block: int, hash_block_size: int,
                 workers: int, loads: bool, saves: bool):
        self._options, self._groups, self._workers = options, groups, workers
        self._tokens_per_block, self._hash_block_size = tokens_per_block, hash_block_size
        self._loads = loads and options.load
        self._saves = saves and options.save != "none"
        self._unit = alignment(groups)
        self._cache = Cache(options=options.cache)
        self._cache.warm_up()
        self._finder = PrefixFinder(self._cache, options, groups, tokens_per_block, tokens_per_block // hash_block_size)
        self._threads = BoundedWorkers("match", 2, options.queue)
        self._lookups: Dict[str, Lookup] = {}
        self._loading: Dict[str, Lookup] = {}
        self._tracked: Dict[str, Tracked] = {}
        self._pending_loads: Dict[str, List[GroupRuns]] = {}
        #: Engine blocks that are being loaded, and requests whose load failed: asked again they would fail again.
        self._targets: Dict[str, Set[int]] = {}
        self._failed: Set[str] = set()
        self._has_windows = any(group.window is not None for group in groups)
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: answers that are on their way come to the parent."""
        self._lookups, self._loading = {}, {}

    def set_workers(self, spaces: Iterable[WorkerSpaces]) -> None:
        """Learns where the workers store. All of them must be known, or a match would not be one for all ranks."""
        known = list(spaces)
        if len(known) != self._workers or any(len(worker.namespaces) != len(self._groups) for worker in known):
            logger.error("KvCache is not used: %d of %d workers said where they store", len(known), self._workers)
            return
        self._finder.namespaces = [list({worker.namespaces[group.index].id: worker.namespaces[group.index]
                                         for worker in known}.values()) for group in self._groups]

    def matched(self, request: Any, computed: int) -> Tuple[Optional[int], bool]:
        """Tokens that can be loaded behind those that the engine has; None to be asked again."""
        # The last token is computed in any case: its logits are what the request is about.
        limit = (request.num_tokens - 1) // self._unit * self._unit
        if not self._loads or not self._finder.namespaces or limit <= computed or request.request_id in self._failed:
            return 0, False
        if self._has_windows and computed:
            # Should the load fail, the engine goes back to what it had, whose windows it has given away by then.
            return 0, False
        lookup = self._lookups.get(request.request_id)
        if lookup is None or (lookup.done.is_set() and time.monotonic() - lookup.began > self._options.hold / 2):
            self._forget(request.request_id)
            lookup = self._lookups[request.request_id] = Lookup()
            if not self._threads.submit(partial(self._finder.question(request, limit), lookup)):
                lookup.done.set()
        is_known, tokens = wait_for(lookup, self._options.lookup_wait, self._options.cache.match_timeout * 2)
        if not is_known:
            return None, False
        lookup.computed = computed
        external = min(tokens or 0, limit) - computed
        return (external, True) if external > 0 else (0, False)

    def allocated(self, request: Any, blocks: Any, external: int) -> None:
        """The engine gave a request blocks, ``external`` tokens of which are to be loaded."""
        self._tracked.setdefault(request.request_id, Tracked(request)).request = request
        if external <= 0:
            return
        lookup = self._lookups.pop(request.request_id, None)
        start = lookup.computed if lookup is not None else request.num_computed_tokens
        rows = blocks.get_block_ids()
        try:
            loads = self._load(request, rows, start, start + external)
        except Exception as error:
            # The engine waits for this load: one that names no hash fails as a whole, and the engine computes. What it had before
            # is not a part of it, for that may be other requests' too.
            complaints.warn(("load", type(error)), "a load cannot be planned: %s: %s", type(error).__name__, error, trace=True)
            loads = [GroupRuns(group.index, [], [tuple(block for block in rows[group.index][start // group.block_size:]
                                                       if block != NULL_BLOCK)]) for group in self._groups]
        self._pending_loads[request.request_id] = loads
        self._targets[request.request_id] = {block for runs in loads for row in runs.blocks for block in row}
        if lookup is not None:
            self._loading[request.request_id] = lookup

    def build(self, output: Any) -> Transfers:
        """What workers do in the step that was just planned."""
        for request_id in output.finished_req_ids:
            self._tracked.pop(request_id, None)
            self._forget(request_id)
        transfers = Transfers(loads=self._pending_loads, preempted=tuple(getattr(output, "preempted_req_ids", None) or ()))
        self._pending_loads = {}
        try:
            for request_id, computed in self._update_blocks(output):
                runs = self._save(request_id, computed, output.num_scheduled_tokens.get(request_id, 0))
                if runs:
                    transfers.saves[request_id] = runs
        except Exception as error:
            # The loads go to the workers all the same: the engine waits for them.
            complaints.warn(("build", type(error)), "nothing is saved of a step: %s: %s", type(error).__name__, error, trace=True)
        return transfers

    def finished(self, request: Any) -> bool:
        """Whether the blocks of a request that ends are still being read; workers say when they are not."""
        tracked = self._tracked.pop(request.request_id, None)
        self._forget(request.request_id)
        self._failed.discard(request.request_id)
        self._targets.pop(request.request_id, None)
        self._pending_loads.pop(request.request_id, None)
        return tracked is not None and tracked.is_saving

    def loaded(self, request_ids: Iterable[str], failed_blocks: Set[int]) -> None:
        """Loads ended on all workers, or blocks failed on one."""
        if failed_blocks:
            self._failed |= {request_id for request_id, blocks in self._targets.items() if blocks & failed_blocks}
        for request_id in request_ids:
            self._targets.pop(request_id, None)
            lookup = self._loading.pop(request_id, None)
            if lookup is not None:
                self._release(lookup)

    def forget_lookups(self) -> None:
        for request_id in list(self._lookups):
            self._forget(request_id)

    def stop(self) -> None:
        self._threads.stop(self._options.cache.match_timeout * 2)
        self._cache.close()

    def _load(self, request: Any, blocks: Blocks, start: int, end: int) -> List[GroupRuns]:
        """The runs that contain the tokens from ``start`` to ``end``, and of their engine blocks those that lack them. The
        engine has no blocks for what lies behind a window; all others are loaded, for it will take them for computed."""
        first, last = start // self._tokens_per_block, -(-end // self._tokens_per_block)
        loads = []
        for group in self._groups:
            per_run, rows = group.blocks_in(self._tokens_per_block), blocks[group.index]
            lacking = range(start // group.block_size, min(len(rows), end // group.block_size))
            targets = [tuple(rows[row] if row in lacking and rows[row] != NULL_BLOCK else SKIPPED
                             for row in range(run * per_run, (run + 1) * per_run)) for run in range(first, last)]
            hashes = self._finder.hashes(request, group, first, last)
            wanted = [i for i, run in enumerate(targets) if any(block != SKIPPED for block in run)]
            if wanted:
                loads.append(GroupRuns(group.index, [hashes[i] for i in wanted], [targets[i] for i in wanted]))
        return loads

    def _update_blocks(self, output: Any) -> List[Tuple[str, int]]:
        """Follows the block tables. Returns the scheduled requests, with the tokens they had before this step."""
        scheduled = []
        for new in output.scheduled_new_reqs:
            tracked = self._tracked.get(new.req_id)
            if tracked is None:
                continue
            tracked.blocks = [list(rows) for rows in _by_group(new.block_ids)]
            tracked.cached_tokens = new.num_computed_tokens
            tracked.saved_runs = new.num_computed_tokens // self._tokens_per_block
            scheduled.append((new.req_id, new.num_computed_tokens))
        cached = output.scheduled_cached_reqs
        for index, request_id in enumerate(cached.req_ids):
            tracked = self._tracked.get(request_id)
            if tracked is None:
                continue
            computed, added = cached.num_computed_tokens[index], cached.new_block_ids[index]
            if _is_resumed(cached, index, request_id):
                tracked.blocks = [list(rows) for rows in _by_group(added or ())]
                tracked.saved_runs = computed // self._tokens_per_block
            elif added is not None:
                for rows, more in zip(tracked.blocks, _by_group(added)):
                    rows.extend(more)
            scheduled.append((request_id, computed))
        return scheduled

    def _save(self, request_id: str, computed: int, scheduled: int) -> List[GroupRuns]:
        """The runs that are complete when the step is done. Of speculated tokens there is no hash, so they do not count."""
        tracked = self._tracked[request_id]
        request = tracked.request
        named = min(len(request.block_hashes), getattr(request, "num_publishable_block_hashes", len(request.block_hashes)))
        complete = min(computed + scheduled, named * self._hash_block_size) // self._tokens_per_block
        first = tracked.saved_runs
        if not self._saves or not self._finder.namespaces or complete <= first or not tracked.blocks:
            return []
        tracked.saved_runs = complete
        saves = []
        for group in self._groups:
            per_run, rows = group.blocks_in(self._tokens_per_block), tracked.blocks[group.index]
            # Behind a window, blocks were freed and may be another request's by now.
            start = max(first, -(-group.first_needed(computed) // self._tokens_per_block))
            runs = [tuple(rows[run * per_run:(run + 1) * per_run]) for run in range(start, complete)]
            whole = [len(run) == per_run and NULL_BLOCK not in run for run in runs]
            # Consecutive ones only: they are put as one chain.
            count = whole.index(False) if False in whole else len(whole)
            if count:
                hashes = self._finder.hashes(request, group, start - 1 if start else 0, start + count)
                previous, hashes = (hashes[0], hashes[1:]) if start else (None, hashes)
                saves.append(GroupRuns(group.index, hashes, runs[:count], start, previous,
                                       max(0, request.num_tokens - tracked.cached_tokens)))
        tracked.is_saving = tracked.is_saving or bool(saves)
        return saves

    def _forget(self, request_id: str) -> None:
        """Ends what a request has begun to ask for."""
        for lookups in (self._lookups, self._loading):
            lookup = lookups.pop(request_id, None)
            if lookup is not None:
                self._release(lookup)

    def _release(self, lookup: Lookup) -> None:
        """Lets the found blocks go, off this thread; without that they are let go when the hold's time is over."""
        for found in lookup.take_holds():
            if found.hold_ms:
                self._threads.submit(found.release)


def _by_group(block_ids: Any) -> Blocks:
    """Block ids as they are now, a list for each group; older versions had one list."""
    return block_ids if isinstance(block_ids, tuple) else (block_ids,)


def _is_resumed(cached: Any, index: int, request_id: str) -> bool:
    resumed = getattr(cached, "resumed_req_ids", None)
    if resumed is not None:
        return request_id in resumed
    return bool(cached.resumed_from_preemption[index])
