"""What the caches of this package have in common."""
from __future__ import annotations

from enum import Flag
from typing import Any, Callable, List, Optional, Protocol, Sequence, Union

from .buffers import check_list
from .deadline import Deadline, Timeout
from .found import Found
from .hashing import Namespace
from .hints import Hint
from .namespace import Deletion
from .statistics import Statistics
from .wire import Outcome, milliseconds


class Capabilities(Flag):
    """What a cache can do beyond match, get, put, delete, clear and expire. To ask for what it cannot do is no error: the call does
    what is said here."""
    NONE = 0
    #: A match keeps what it has found. Without it ``Found.hold_ms`` is 0.
    HOLD = 1
    #: Blocks are pinned. Without it ``pin`` answers 0.
    PIN = 2
    #: Hints change what is forgotten first. Without it they change nothing.
    HINTS = 4
    #: It tells where blocks are. Without it ``locate`` is None.
    LOCATE = 8
    #: More than one copy can be asked for. Without it there is one.
    COPIES = 16
    #: Blocks can survive whoever stored them, where a Redis is there for it.
    DURABILITY = 32


class BlockCache(Protocol):
    """A cache of blocks, as ``Cache`` and ``RedisCache`` are. Arguments and results are described at ``Cache``."""

    statistics: Statistics

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def tenant(self) -> str: ...

    def match(self, namespaces: Union[Namespace, Sequence[Namespace]], hashes: Sequence[bytes], hold_ms: int = 0,
              timeout: Timeout = None, hint: Optional[Hint] = None) -> Found: ...

    def locate(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None, is_read: bool = False) -> Any: ...

    def get(self, namespace: Namespace, hashes: Sequence[bytes], targets: Sequence[Any], first_layer: int = 0,
            layers: Optional[int] = None, past_misses: bool = False, arrived: Optional[Callable[[int], None]] = None,
            timeout: Timeout = None, hint: Optional[Hint] = None) -> List[bool]: ...

    def put(self, namespace: Namespace, hashes: Sequence[bytes], blocks: Sequence[Any], previous: Optional[bytes] = None,
            depth: int = 0, ttl_seconds: float = 0, request_id: int = 0, new_tokens: int = 0, copies: int = 1,
            persisted: bool = False, only_missing: bool = True, timeout: Timeout = None,
            refresh_life: bool = True, hint: Optional[Hint] = None) -> List[Outcome]: ...

    def pin(self, namespace: Namespace, hashes: Sequence[bytes], seconds: float, timeout: Timeout = None) -> int: ...

    def expire(self, namespace: Namespace, hashes: Sequence[bytes], ttl_seconds: float, timeout: Timeout = None) -> int: ...

    def hint(self, namespace: Namespace, hashes: Sequence[bytes], hint: Hint, timeout: Timeout = None) -> None: ...

    def clear(self, namespace: Namespace, timeout: Timeout = None) -> Deletion: ...

    def delete(self, namespace: Namespace, hashes: Sequence[bytes], timeout: Timeout = None) -> Deletion: ...

    def stat(self, timeout: Timeout = None) -> Any: ...

    def close(self) -> None: ...

    def match_deadline(self, timeout: Timeout) -> Deadline: ...

    def load_deadline(self, timeout: Timeout) -> Deadline: ...

    def store_deadline(self, timeout: Timeout) -> Deadline: ...


def group_of(namespaces: Union[Namespace, Sequence[Namespace]]) -> List[Namespace]:
    """The namespaces of a match, which is given one or several."""
    group: List[Any] = list(namespaces) if isinstance(namespaces, (list, tuple)) else [namespaces]
    return group


def check_chain(namespaces: Sequence[Any], hashes: Any) -> None:
    """``ValueError`` for what is no namespace, and for what are no hashes of blocks: whether a silo is there or not."""
    for namespace in namespaces:
        if not isinstance(namespace, Namespace):
            raise ValueError(f"namespace: a kvcache.Namespace was expected, and is {namespace!r}")
    check_list("hashes", hashes)
    if not (set(map(type, hashes)) <= {bytes} and set(map(len, hashes)) <= {32}):
        wrong = next(name for name in hashes if type(name) is not bytes or len(name) != 32)
        raise ValueError(f"hashes: a hash has 32 bytes, as those of prefix_chain and text_hash; there is {wrong!r}")


def check_put(depth: int, request_id: int, new_tokens: int, copies: int, ttl_seconds: float, previous: Optional[bytes]) -> None:
    """``ValueError`` for terms of a put that cannot be met."""
    for name, value, least, most in (("depth", depth, 0, (1 << 32) - 1), ("request_id", request_id, 0, (1 << 64) - 1),
                                     ("new_tokens", new_tokens, 0, (1 << 32) - 1), ("copies", copies, 1, 16)):
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{name}: {least} to {most} was expected, and is {value!r}")
    if previous is not None and (not isinstance(previous, bytes) or len(previous) != 32):
        raise ValueError(f"previous: the hash of the block before the first was expected, 32 bytes, and is {previous!r}")
    milliseconds(ttl_seconds)
