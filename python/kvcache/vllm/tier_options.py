"""Settings of the tier: its entry in the engine's list of secondary tiers."""
from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Mapping

from ..options import CacheOptions, check_names


@dataclass(frozen=True)
class TierOptions:
    """How the tier uses the cache. Keys that are not here are those of ``CacheOptions``."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    #: Name that the chunks go under; by default that of the engine's model.
    model: str = ""
    revision: str = ""
    #: Makes chunks of otherwise equal engines different. The engine does not tell a tier in which order a row has its
    #: bytes: engines with different attention backends need different salts.
    salt: str = ""
    copies: int = 1
    persisted: bool = False
    ttl_seconds: int = 0
    #: Seconds that an answer about a key is good for, for every request that asks.
    lookup_life: float = 5.0
    load_threads: int = 2
    store_threads: int = 2
    #: Jobs that wait at most; more fail at once.
    queue: int = 256

    def __post_init__(self) -> None:
        check_names(self.model, self.revision, self.salt)
        if not self.model:
            raise ValueError('model: the engine does not say it; name it, for example "model": "llama-3-8b"')
        for name in ("lookup_life", "load_threads", "store_threads", "queue"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be more than 0, and is {getattr(self, name)!r}")
        if not 0 <= self.copies <= 16 or self.ttl_seconds < 0:
            raise ValueError("copies is 0 to 16, and ttl_seconds is not negative")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> TierOptions:
        """Options from the engine's JSON; unknown keys are errors."""
        own = {item.name for item in fields(cls)} - {"cache"}
        mine = {name: value for name, value in settings.items() if name in own}
        return cls(cache=CacheOptions.from_mapping({k: v for k, v in settings.items() if k not in own}), **mine)
