"""Client of the KvCache data plane: match, read and store KV tensors, with the standard library alone."""
from .client import Client, KvCacheError, Limits, Match, OpenNamespace, Outcome, Status
from .hashing import (CHAIN_ROOT, DataType, Namespace, OpaqueLayout, StructuredLayout, engine_key_hash,
                      prefix_chain, text_hash)

__version__ = "1.0.0"

__all__ = ["CHAIN_ROOT", "Client", "DataType", "KvCacheError", "Limits", "Match", "Namespace", "OpaqueLayout",
           "OpenNamespace", "Outcome", "Status", "StructuredLayout", "engine_key_hash", "prefix_chain", "text_hash"]
