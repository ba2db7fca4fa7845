"""The worker's side of the connector."""
from __future__ import annotations

import logging
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from ..cache import Cache
from ..hashing import Namespace, OpaqueLayout
from .groups import Group
from .layout import layout_digest
from .loading import Loader
from .memory import CopyStream, GroupMemory
from .messages import Transfers, WorkerSpaces
from .options import ConnectorOptions
from .saving import Saver
from .staging import StagingPool

logger = logging.getLogger("kvcache")


class ConnectorWorker:
    """Moves blocks between one worker's KV cache and the cluster. Until the KV cache is registered, loads fail and
    nothing is saved."""

    def __init__(self, options: ConnectorOptions, groups: Sequence[Group], blocks: int, tokens_per_block: int, rank: int,
                 tp_size: int, number_format: str, identity: Dict[str, str]):
        self._options, self._groups, self._blocks = options, groups, blocks
        self._tokens_per_block, self._rank, self._tp_size = tokens_per_block, rank, tp_size
        self._number_format, self._identity = number_format, identity
        self._cache = Cache(options=options.cache)
        self._cache.warm_up()
        self._memories: List[GroupMemory] = []
        self.namespaces: List[Namespace] = []
        self._loader: Optional[Loader] = None
        self._saver: Optional[Saver] = None
        self._refused: Tuple[Set[str], Set[int]] = (set(), set())

    def register(self, caches: Dict[str, Any]) -> None:
        """Takes over the KV cache: from its layout follow the namespaces."""
        device = next(iter(caches.values())).device
        memories = [GroupMemory(group, caches, self._blocks, self._tokens_per_block) for group in self._groups]
        for memory in memories:
            if any(layout.block_bytes < memory.group.bytes_with_scales for layout in memory.layouts.values()):
                raise ValueError(f"KV cache group {memory.group.index} has scales beside its tensors, which a connector is not given")
        self.namespaces = [self._namespace(memory) for memory in memories]
        self._memories = memories
        self._loader = Loader(self._cache, self._options, CopyStream(device), StagingPool(self._options.staging_bytes, device))
        self._saver = Saver(self._cache, self._options, StagingPool(self._options.staging_bytes, device), device)
        logger.info("KvCache: rank %d, %s bytes a block, namespaces %s", self._rank,
                    [memory.block_bytes for memory in memories], [space.id.hex() for space in self.namespaces])

    def spaces(self) -> Optional[WorkerSpaces]:
        """What the scheduler has to know of this worker."""
        return WorkerSpaces(self._rank, self.namespaces) if self.namespaces else None

    def begin_step(self, transfers: Transfers) -> None:
        """Starts loads, and notes what the step will have to save."""
        if self._loader is None or self._saver is None:
            for request_id, groups in transfers.loads.items():
                self._refused[0].add(request_id)
                self._refused[1].update(block for runs in groups for blocks in runs.blocks for block in blocks if block >= 0)
            return
        self._loader.begin(transfers.loads, self._memories, self.namespaces)
        self._saver.begin(transfers.saves, self._memories, self.namespaces, self._saves)

    def save_layer(self, name: str) -> None:
        if self._saver is not None and self._options.save == "layer":
            self._saver.layer(name)

    def end_step(self) -> None:
        if self._saver is not None:
            self._saver.end()

    def preempted(self, request_ids: Sequence[str]) -> None:
        if self._saver is not None:
            self._saver.preempted(request_ids)

    def finished(self, request_ids: Set[str]) -> Tuple[Optional[Set[str]], Optional[Set[str]]]:
        """Requests whose saves and whose loads ended."""
        if self._loader is None or self._saver is None:
            refused = set(self._refused[0])
            self._refused[0].clear()
            return None, refused or None
        return self._saver.finished(request_ids) or None, self._loader.finished() or None

    def failed_blocks(self) -> Set[int]:
        """Engine blocks that could not be loaded since the last call."""
        if self._loader is not None:
            return self._loader.failed_blocks()
        failed = set(self._refused[1])
        self._refused[1].clear()
        return failed

    def stop(self) -> None:
        """Ends the transfers; what is saved by then stays."""
        if self._saver is not None:
            self._saver.stop()
        if self._loader is not None:
            self._loader.stop()
        self._cache.close()

    def _saves(self, memory: GroupMemory) -> bool:
        """Whether this rank saves a group: of equal bytes one rank's are enough."""
        return not memory.group.is_replicated or self._rank % self._tp_size == 0

    def _namespace(self, memory: GroupMemory) -> Namespace:
        group = memory.group
        layout = layout_digest(memory.layouts, group=group.index, window=group.window, block_size=group.block_size,
                               description=group.description)
        shared = group.is_replicated
        return Namespace(self._options.model, OpaqueLayout(self._tokens_per_block, memory.layer_ends),
                         self._options.cache.tenant, self._options.revision, "", 0 if shared else self._rank % self._tp_size,
                         1 if shared else self._tp_size, self._options.salt, self._number_format,
                         {"engine": "vllm/2", "layout": layout, **self._identity, **self._options.fields})
