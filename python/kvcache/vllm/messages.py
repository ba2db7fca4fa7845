"""What the scheduler's side of the connector tells the workers' side, every step; plain data, for it is pickled."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from ..hashing import Namespace

#: In place of a block that shall not be written: the request has it already, or does not need it.
SKIPPED = -1


@dataclass
class GroupRuns:
    """Consecutive runs of one request in one KV cache group. A run is one block of the cache, and names the engine's
    blocks it is made of."""
    group: int
    hashes: List[bytes]
    blocks: List[Tuple[int, ...]]
    #: Index of the first run in its chain, and the hash of the run before it.
    depth: int = 0
    previous: Optional[bytes] = None
    #: Of a save: tokens that the request has behind what was cached when it began.
    new_tokens: int = 0


@dataclass
class Transfers:
    """Loads and saves of one step, by request."""
    loads: Dict[str, List[GroupRuns]] = field(default_factory=dict)
    saves: Dict[str, List[GroupRuns]] = field(default_factory=dict)
    #: Requests whose blocks are taken away before this step.
    preempted: Tuple[str, ...] = ()


@dataclass
class WorkerSpaces:
    """Where a worker stores its part of the KV: one namespace a group."""
    rank: int
    namespaces: List[Namespace]
