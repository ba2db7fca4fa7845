"""KvCache for Python: match, read and store the KV tensors of prompt prefixes, with the standard library alone.

``Cache`` is for engines: a cluster that is away is a miss. ``Client`` is the layer below, one connection with exceptions.
"""
from .buffers import split
from .cache import Cache, Found, Statistics
from .client import Client, Limits
from .deadline import Deadline
from .errors import KvCacheError
from .hashing import (CHAIN_ROOT, DataType, Namespace, OpaqueLayout, StructuredLayout, engine_key_hash,
                      prefix_chain, text_hash)
from .hints import Hint
from .namespace import Deletion, Location, Match, OpenNamespace, PutOutcomes, Silo
from .options import CacheOptions
from .tls import Tls
from .version import VERSION
from .wire import Outcome, Status

__version__ = VERSION

__all__ = ["CHAIN_ROOT", "Cache", "CacheOptions", "Client", "DataType", "Deadline", "Deletion", "Found", "Hint", "KvCacheError", "Limits",
           "Location", "Match", "Namespace", "OpaqueLayout", "OpenNamespace", "Outcome", "PutOutcomes", "Silo",
           "Statistics", "Status", "StructuredLayout", "Tls", "engine_key_hash", "prefix_chain", "split", "text_hash"]
