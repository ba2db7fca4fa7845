"""SGLang: ``KvCacheHiCacheStorage``, a storage backend of HiCache. See docs/engines/sglang.md.

The class is imported when it is asked for, so that this package imports without SGLang.
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hicache import KvCacheHiCacheStorage

__all__ = ["KvCacheHiCacheStorage"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"kvcache.sglang has no {name}")
    return getattr(import_module("kvcache.sglang.hicache"), name)
