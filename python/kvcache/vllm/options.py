"""Settings of the connector: ``kv_connector_extra_config``."""
from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Mapping

from ..options import CacheOptions, check_names

SAVES = ("block", "layer", "none")


@dataclass(frozen=True)
class ConnectorOptions:
    """How the connector uses the cache. Times are in seconds. Keys that are not here are those of ``CacheOptions``."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    #: Names that the blocks go under; by default those of the engine's model.
    model: str = ""
    revision: str = ""
    #: Makes blocks of otherwise equal engines different, for example when weights were changed in place.
    salt: str = ""
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
    copies: int = 1
    persisted: bool = False
    ttl_seconds: int = 0
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
        check_names(self.model, self.revision, self.salt)
        if self.save not in SAVES:
            raise ValueError(f"save: one of {', '.join(SAVES)}, and is {self.save!r}")
        if self.hybrid_loads not in ("auto", "on", "off"):
            raise ValueError(f"hybrid_loads: one of auto, on, off, and is {self.hybrid_loads!r}")
        for name in ("tokens_per_block", "hold", "staging_bytes", "staging_wait", "load_threads", "save_threads", "queue"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be more than 0, and is {getattr(self, name)!r}")
        if not 0 <= self.copies <= 16 or self.ttl_seconds < 0 or self.lookup_wait < 0:
            raise ValueError("copies is 0 to 16; ttl_seconds and lookup_wait are not negative")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> ConnectorOptions:
        """Options from the engine's JSON; unknown keys are errors."""
        own = {item.name for item in fields(cls)} - {"cache"}
        mine = {name: value for name, value in settings.items() if name in own}
        return cls(cache=CacheOptions.from_mapping({k: v for k, v in settings.items() if k not in own}), **mine)
