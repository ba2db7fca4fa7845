"""Settings of the backend: the key ``kvcache`` of ``--hicache-storage-backend-extra-config``."""
from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Mapping

from ..options import CacheOptions, check_names


@dataclass(frozen=True)
class HiCacheOptions:
    """How the backend uses the cache. Keys that are not here are those of ``CacheOptions``."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    #: Name that the pages go under; by default that of the engine's model.
    model: str = ""
    revision: str = ""
    #: Makes pages of otherwise equal engines different.
    salt: str = ""
    copies: int = 1
    persisted: bool = False
    ttl_seconds: int = 0

    def __post_init__(self) -> None:
        check_names(self.model, self.revision, self.salt)
        if not 0 <= self.copies <= 16 or self.ttl_seconds < 0:
            raise ValueError("copies is 0 to 16, and ttl_seconds is not negative")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> HiCacheOptions:
        """Options from the engine's JSON; unknown keys are errors."""
        own = {item.name for item in fields(cls)} - {"cache"}
        mine = {name: value for name, value in settings.items() if name in own}
        return cls(cache=CacheOptions.from_mapping({k: v for k, v in settings.items() if k not in own}), **mine)
