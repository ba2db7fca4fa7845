"""Settings of the tier: its entry in the engine's list of secondary tiers."""
from __future__ import annotations

from dataclasses import dataclass

from ..options import EngineOptions, check_positive


@dataclass(frozen=True)
class TierOptions(EngineOptions):
    """How the tier uses the cache. The engine does not tell a tier in which order a row has its bytes: engines with different
    attention backends need different ``salt``s."""

    #: Seconds that an answer about a key is good for, for every request that asks.
    lookup_life: float = 5.0
    load_threads: int = 2
    store_threads: int = 2
    #: Jobs that wait at most; more fail at once.
    queue: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ValueError('model: the engine does not say it; name it, for example "model": "llama-3-8b"')
        check_positive(self, "lookup_life", "load_threads", "store_threads", "queue")
