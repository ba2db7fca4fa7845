"""Settings of a cache over a plain Redis."""
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Mapping, Optional

from .hashing import DataType
from .options import check_choice, check_known, check_positive, check_range, check_text, check_types

_NARROWED = {"": None, "float16": DataType.FLOAT16, "bfloat16": DataType.BFLOAT16}


@dataclass(frozen=True)
class RedisOptions:
    """How a cache uses a Redis. Times are in seconds."""

    #: ``redis://``, ``rediss://`` or ``unix://``, as redis-py takes it, with user and password where there are some.
    url: str = "redis://127.0.0.1:6379/0"
    tenant: str = "default"
    #: Beginning of all keys.
    key_prefix: str = "kvcache.blocks"
    #: ``float16`` or ``bfloat16`` narrows blocks of float32, which loses precision: they have keys of their own. It takes numpy.
    narrowed: str = ""
    #: ``gzip`` compresses blocks, where that makes them smaller.
    compression: str = ""
    #: Life of blocks that are stored without one; 0 for as long as memory lasts, which is for a Redis with a ``maxmemory`` and a policy.
    default_ttl_seconds: float = 86400
    #: Deadline of match, expire, delete and stat.
    match_timeout: float = 0.25
    #: What the first call has more, as it connects.
    first_call_timeout: float = 1.0
    #: Deadline of a read.
    load_timeout: float = 5.0
    #: Deadline of a put, and of a clearing.
    store_timeout: float = 10.0
    #: Calls at once, each on a connection.
    connections: int = 4
    #: Bytes of blocks that a call has on the way at the same time, at least one block.
    bytes_on_the_way: int = 64 << 20

    def __post_init__(self) -> None:
        check_types(self)
        if not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(f"url: redis://, rediss:// or unix:// was expected, and is {self.url!r}")
        for name in ("tenant", "key_prefix"):
            check_text(self, name, 1)
        check_choice(self, "narrowed", *_NARROWED)
        check_choice(self, "compression", "", "gzip")
        check_range(self, "default_ttl_seconds", most=1 << 52)
        check_positive(self, "match_timeout", "first_call_timeout", "load_timeout", "store_timeout", "connections", "bytes_on_the_way")

    @property
    def narrowed_type(self) -> Optional[DataType]:
        return _NARROWED[self.narrowed]

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> RedisOptions:
        """Options from JSON; unknown keys are errors."""
        check_known(settings, (item.name for item in fields(cls)))
        return cls(**settings)
