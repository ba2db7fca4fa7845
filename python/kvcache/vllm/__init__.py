"""vLLM: ``KvCacheConnector`` (a KV connector) and ``KvCacheTier`` (a secondary tier of tiered offloading).

See docs/engines/vllm.md. The classes are imported when they are asked for, so that this package imports without vLLM.
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connector import KvCacheConnector
    from .tier import KvCacheTier

_CLASSES = {"KvCacheConnector": "connector", "KvCacheTier": "tier"}

__all__ = ["KvCacheConnector", "KvCacheTier"]


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"kvcache.vllm has no {name}")
    return getattr(import_module(f"kvcache.vllm.{_CLASSES[name]}"), name)
