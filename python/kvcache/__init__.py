"""KvCache for Python: match, read and store the KV tensors of prompt prefixes, with the standard library alone.

``Cache`` is for engines: a cluster that is away is a miss; ``AsyncCache`` has its calls for ``asyncio``, and ``RedisCache`` needs a plain
Redis only. ``Client`` is the layer below, one connection with exceptions. ``TextCache`` and ``generate_with_cache`` are the simple calls.
"""
from .aio import AsyncCache, AsyncFound
from .buffers import split
from .cache import Cache
from .client import Client, Limits
from .deadline import Deadline
from .errors import KvCacheError
from .found import Found
from .generation import Generation, generate_with_cache
from .hashing import (CHAIN_ROOT, DataType, Namespace, OpaqueLayout, StructuredLayout, engine_key_hash,
                      prefix_chain, text_hash)
from .hints import Hint
from .interface import BlockCache, Capabilities
from .namespace import Deletion, Location, Match, OpenNamespace, PutOutcomes, Silo
from .options import CacheOptions
from .redis_cache import RedisCache
from .redis_options import RedisOptions
from .statistics import Latency, Statistics
from .tensors import Tensor
from .texts import CachedKv, TextCache
from .tls import Tls
from .version import VERSION
from .wire import Outcome, Status

__version__ = VERSION

__all__ = ["CHAIN_ROOT", "AsyncCache", "AsyncFound", "BlockCache", "Cache", "CacheOptions", "CachedKv", "Capabilities", "Client",
           "DataType", "Deadline", "Deletion", "Found", "Generation", "Hint", "KvCacheError", "Latency", "Limits", "Location", "Match", "Namespace",
           "OpaqueLayout", "OpenNamespace", "Outcome", "PutOutcomes", "RedisCache", "RedisOptions", "Silo", "Statistics", "Status",
           "StructuredLayout", "Tensor", "TextCache", "Tls", "engine_key_hash", "generate_with_cache", "prefix_chain", "split", "text_hash"]
