"""LMCache: nothing to import, for LMCache brings its own clients. A silo speaks two of its remote protocols, so an engine
with LMCache uses KvCache by its configuration alone; ``settings`` writes that. See docs/engines/lmcache.md.
"""
from typing import Any, Dict

#: Default ports of the silo's endpoints.
LM_PORT, REDIS_PORT = 7420, 7430

__all__ = ["LM_PORT", "REDIS_PORT", "settings"]


def settings(host: str, protocol: str = "lm", port: int = 0, chunk_size: int = 256, local_gib: float = 5.0) -> Dict[str, Any]:
    """LMCache's configuration (the YAML of LMCACHE_CONFIG_FILE, as a dictionary) for a silo: ``protocol`` is ``lm`` for
    its own server protocol or ``redis`` for the Redis endpoint."""
    if protocol not in ("lm", "redis"):
        raise ValueError(f"protocol: lm or redis, and is {protocol!r}")
    return {"chunk_size": chunk_size, "local_cpu": True, "max_local_cpu_size": local_gib,
            "remote_url": f"{protocol}://{host}:{port or (LM_PORT if protocol == 'lm' else REDIS_PORT)}",
            "remote_serde": "naive", "pre_caching_hash_algorithm": "sha256_cbor"}
