"""Settings of the backend: the key ``kvcache`` of ``--hicache-storage-backend-extra-config``."""
from __future__ import annotations

from dataclasses import dataclass

from ..options import EngineOptions


@dataclass(frozen=True)
class HiCacheOptions(EngineOptions):
    """How the backend uses the cache."""

    #: Whether the engine's page keys tell LoRA adapters apart, as those of newer versions do: an engine with adapters whose
    #: keys do not is not served.
    adapters_in_keys: bool = False
