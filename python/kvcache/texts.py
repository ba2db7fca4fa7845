"""The simple calls: K and V of one layer under a text. In the form that ``TextKvCache`` of .NET has, so that each reads what the other
stored."""
from __future__ import annotations

import struct
from typing import Any, NamedTuple, Optional

from ._engines import engine_module
from .buffers import view_of
from .deadline import Deadline, Timeout
from .hashing import MAX_BLOCK_BYTES, Namespace, OpaqueLayout, text_hash
from .interface import BlockCache
from .tensors import Tensor
from .wire import Outcome

#: How tensors are given back.
KINDS = ("torch", "numpy", "bytes")
_MIN_PADDED = 1024
_SIZE, _LENGTHS = struct.Struct("<I"), struct.Struct("<II")


class CachedKv(NamedTuple):
    """K and V of one layer."""
    k: Any
    v: Any


class TextCache:
    """K and V of layers, by the text whose KV they are. Tensors may have any shape, so two blocks are stored: the payload, padded to one
    of few sizes, and a small one that says which size. Each is sealed at once: what is stored under a text and a layer stays, until
    it is deleted or its life ends. For engines, the cache itself is the faster way."""

    def __init__(self, cache: BlockCache, model: str, tenant: Optional[str] = None, tensors: str = "torch"):
        """``tensors`` is how they are given back: ``torch``, ``numpy``, or ``bytes`` for a ``Tensor``."""
        if tensors not in KINDS:
            raise ValueError(f"tensors: one of {', '.join(KINDS)} was expected, and is {tensors!r}")
        if tensors != "bytes":
            engine_module(tensors, f"TextCache with tensors={tensors!r}", tensors)
        self.cache, self._kind = cache, tensors
        self._tenant, self._model = cache.tenant if tenant is None else tenant, model
        self._sizes = self._namespace("text sizes", _SIZE.size)

    def cache_kv(self, prefix: str, layer: int, k: Any, v: Any, ttl_seconds: float = 0, timeout: Timeout = None) -> bool:
        """Stores K and V of a layer: tensors of torch, arrays of numpy, or ``Tensor``s, of up to 8 dimensions of float32, float16,
        bfloat16 or bytes. Says whether they are stored now, by this call or before. Of a life of 0 they stay for as long as memory
        lasts."""
        hashes = [_hash(prefix, layer)]
        k_bytes, v_bytes = _encoded("k", k), _encoded("v", v)
        payload = bytearray(_padded(_LENGTHS.size + len(k_bytes) + len(v_bytes)))
        _LENGTHS.pack_into(payload, 0, len(k_bytes), len(v_bytes))
        end = _LENGTHS.size + len(k_bytes)
        payload[_LENGTHS.size:end], payload[end:end + len(v_bytes)] = k_bytes, v_bytes
        deadline = self.cache.store_deadline(timeout)

        def put(namespace: Namespace, block: Any) -> Outcome:
            return self.cache.put(namespace, hashes, [block], ttl_seconds=ttl_seconds, timeout=deadline)[0]
        # The payload first: a size tells readers that it is there.
        if not put(self._payloads(len(payload)), payload).is_stored:
            return False
        outcome = put(self._sizes, _SIZE.pack(len(payload)))
        # A size that was there may be an older one's, whose payload was evicted since.
        if outcome == Outcome.ALREADY_STORED and self._size_of(hashes[0], deadline) != len(payload):
            self.cache.delete(self._sizes, hashes, deadline)
            outcome = put(self._sizes, _SIZE.pack(len(payload)))
        return outcome.is_stored

    def get_cached_kv(self, prefix: str, layer: int, timeout: Timeout = None) -> Optional[CachedKv]:
        """K and V of a layer, in the shapes and element types that were stored; None when they cannot be had. What a .NET program
        compressed with Zstandard or float planes cannot be had here."""
        name, deadline = _hash(prefix, layer), self.cache.load_deadline(timeout)
        size = self._size_of(name, deadline)
        if size is None:
            return None
        payload = bytearray(size)
        if self.cache.get(self._payloads(size), [name], [payload], timeout=deadline) != [True]:
            return None
        try:
            k_length, v_length = _LENGTHS.unpack_from(payload)
            view, middle = view_of(payload), _LENGTHS.size + k_length
            k, v = Tensor.decode(view[_LENGTHS.size:middle]), Tensor.decode(view[middle:middle + v_length])
        except ValueError:
            return None  # bytes that somebody else stored under this name
        return CachedKv(self._given_back(k), self._given_back(v))

    def delete_kv(self, prefix: str, layer: int, timeout: Timeout = None) -> bool:
        """Forgets K and V of a layer. Says whether they are certainly gone."""
        hashes, deadline = [_hash(prefix, layer)], self.cache.store_deadline(timeout)
        size = self._size_of(hashes[0], deadline)
        parts = [self._sizes] if size is None else [self._sizes, self._payloads(size)]
        return all([self.cache.delete(part, hashes, deadline).is_confirmed for part in parts])

    def _size_of(self, name: bytes, deadline: Deadline) -> Optional[int]:
        block = bytearray(_SIZE.size)
        if self.cache.get(self._sizes, [name], [block], timeout=deadline) != [True]:
            return None
        size = _SIZE.unpack(block)[0]
        return size if _MIN_PADDED <= size <= MAX_BLOCK_BYTES else None

    def _given_back(self, tensor: Tensor) -> Any:
        if self._kind == "bytes":
            return tensor
        return tensor.to_torch() if self._kind == "torch" else tensor.to_numpy()

    def _payloads(self, size: int) -> Namespace:
        return self._namespace("text payloads", size)

    def _namespace(self, salt: str, size: int) -> Namespace:
        return Namespace(self._model, OpaqueLayout(1, (size,)), self._tenant, salt=salt)


def _hash(prefix: Any, layer: Any) -> bytes:
    if not isinstance(prefix, str):
        raise ValueError(f"prefix: a text was expected, and is {prefix!r}")
    if not isinstance(layer, int) or not 0 <= layer < 1 << 32:
        raise ValueError(f"layer: a whole number from 0 on was expected, and is {layer!r}")
    return text_hash(prefix, layer)


def _encoded(name: str, value: Any) -> bytes:
    try:
        return Tensor.of(value).encode()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _padded(size: int) -> int:
    """Eight sizes for each power of two: at most an eighth is padding, and a connection opens few namespaces."""
    if size <= _MIN_PADDED:
        return _MIN_PADDED
    step = (1 << (size - 1).bit_length()) // 16
    return -(-size // step) * step
