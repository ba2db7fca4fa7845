"""Settings of the connector: ``kv_connector_extra_config``."""
from __future__ import annotations

from dataclasses import dataclass

from ..options import EngineOptions, check_choice, check_positive, check_range

SAVES = ("block", "layer", "none")


@dataclass(frozen=True)
class ConnectorOptions(EngineOptions):
    """How the connector uses the cache. Times are in seconds."""

    #: Tokens of a block of the cache: engine blocks are grouped into these.
    tokens_per_block: int = 256
    #: ``block``: after the forward pass; ``layer``: as the layers are computed; ``none``: nothing is saved.
    save: str = "block"
    load: bool = True
    #: Whether models with several KV cache groups load: ``auto`` when the engine recovers from a load of theirs that fails.
    #: Others end when that happens.
    hybrid_loads: str = "auto"
    #: How long a look-up may hold the scheduler; after it the engine is asked to ask again.
    lookup_wait: float = 0.002
    #: How long found blocks are kept for the load that follows.
    hold: float = 5.0
    #: Host memory for blocks on their way, for loads and for saves each. Pinned when the KV cache is on a GPU.
    staging_bytes: int = 256 << 20
    #: How long after its step a save may wait for staging memory until its blocks are dropped: the engine cannot use
    #: blocks that wait.
    staging_wait: float = 2.0
    #: Threads that load, and threads that send what was saved.
    load_threads: int = 2
    save_threads: int = 2
    #: Requests whose loads, and blocks whose saves, wait at most; more are misses, or not saved.
    queue: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "save", *SAVES)
        check_choice(self, "hybrid_loads", "auto", "on", "off")
        check_positive(self, "tokens_per_block", "hold", "staging_bytes", "staging_wait", "load_threads", "save_threads", "queue")
        check_range(self, "lookup_wait")
