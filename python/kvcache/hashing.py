"""Names of blocks: the hashes of prompts, texts and engine keys, and the ids of namespaces (docs/hashing.md)."""
from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from itertools import accumulate
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

from .wire import pack

#: h0 of every chain. It is the start of the computation, never the hash of a block.
CHAIN_ROOT = sha256(b"kvcache.prefix.v1").digest()


def prefix_chain(tokens: Sequence[int], tokens_per_block: int, previous: bytes = CHAIN_ROOT) -> List[bytes]:
    """The hashes of the full blocks of a prompt, first block first; tokens behind the last full block have none.

    ``previous`` continues a chain: the hash of the block before ``tokens[0]``.
    """
    pack = struct.Struct(f"<{tokens_per_block}I").pack
    hashes = []
    for start in range(0, len(tokens) - tokens_per_block + 1, tokens_per_block):
        previous = sha256(previous + pack(*tokens[start:start + tokens_per_block])).digest()
        hashes.append(previous)
    return hashes


def text_hash(text: str, part: int = 0) -> bytes:
    """The hash of a text prefix."""
    return sha256(b"kvcache.text.v1" + struct.pack("<I", part) + text.encode()).digest()


def engine_key_hash(key: bytes, group: int = 0) -> bytes:
    """The hash of a block that an engine names with a key of its own."""
    if not 1 <= len(key) <= 256:
        raise ValueError("an engine key has 1 to 256 bytes")
    return sha256(b"kvcache.engine.v1" + struct.pack("<I", group) + key).digest()


class DataType(IntEnum):
    """Type of the elements of a structured layout."""
    FLOAT32 = 1
    FLOAT16 = 2
    BFLOAT16 = 3
    FLOAT8_E4M3FN = 4
    FLOAT8_E5M2 = 5
    UINT8 = 6

    @property
    def item_bytes(self) -> int:
        return {DataType.FLOAT32: 4, DataType.FLOAT16: 2, DataType.BFLOAT16: 2}.get(self, 1)


#: Bounds of layouts (docs/hashing.md).
MAX_TOKENS, MAX_LAYERS, MAX_DIMENSION, MAX_BLOCK_BYTES = 1 << 20, 4096, 1 << 16, 1 << 30


def _check_number(name: str, value: Any, least: int, most: int) -> None:
    if not hasattr(value, "__index__") or not least <= value <= most:
        raise ValueError(f"{name}: a whole number from {least} to {most} was expected, and is {value!r}")


@dataclass(frozen=True)
class StructuredLayout:
    """Blocks with the bytes in the order ``[layer][part][token][head][dim]``."""
    tokens_per_block: int
    layers: int
    kv_heads: int
    head_dim: int
    data_type: DataType
    parts: int = 2  #: 2 for K and V, 1 for an MLA latent

    def __post_init__(self) -> None:
        _check_number("tokens_per_block", self.tokens_per_block, 1, MAX_TOKENS)
        _check_number("layers", self.layers, 1, MAX_LAYERS)
        _check_number("kv_heads", self.kv_heads, 1, MAX_DIMENSION)
        _check_number("head_dim", self.head_dim, 1, MAX_DIMENSION)
        _check_number("parts", self.parts, 1, 2)
        if not isinstance(self.data_type, DataType):
            raise ValueError(f"data_type: a kvcache.DataType was expected, and is {self.data_type!r}")
        _check_number("bytes of a block", self.layer_ends[-1], 1, MAX_BLOCK_BYTES)

    @property
    def layer_ends(self) -> Tuple[int, ...]:
        """For every layer, where in the block it ends."""
        layer = self.parts * self.tokens_per_block * self.kv_heads * self.head_dim * self.data_type.item_bytes
        return tuple(accumulate([layer] * self.layers))

    def encode(self) -> bytes:
        return pack("<B4I2B", 1, self.tokens_per_block, self.layers, self.kv_heads, self.head_dim, self.parts, self.data_type)


@dataclass(frozen=True)
class OpaqueLayout:
    """Blocks of which only the ends of the layers are known."""
    tokens_per_block: int
    layer_ends: Tuple[int, ...]

    def __post_init__(self) -> None:
        _check_number("tokens_per_block", self.tokens_per_block, 1, MAX_TOKENS)
        _check_number("number of layer_ends", len(self.layer_ends), 1, MAX_LAYERS)
        for start, end in zip((0, *self.layer_ends), self.layer_ends):
            _check_number("layer_ends", end, start + 1, MAX_BLOCK_BYTES)

    def encode(self) -> bytes:
        return pack(f"<B2I{len(self.layer_ends)}I", 2, self.tokens_per_block, len(self.layer_ends), *self.layer_ends)


#: Bounds of ``Namespace.fields``: how many, and the bytes of a name or a value.
MAX_FIELDS, MAX_TEXT_BYTES = 64, 256


@dataclass(frozen=True)
class Namespace:
    """What blocks have in common: two namespaces never share one."""
    model: str
    layout: Union[StructuredLayout, OpaqueLayout]
    tenant: str = "default"
    revision: str = ""
    lora: str = ""
    tp_rank: int = 0
    tp_size: int = 1
    salt: str = ""
    #: The engine's own name of how numbers are encoded (``fp8_e4m3``, ``nvfp4``), where the layout's type does not say it.
    number_format: str = ""
    #: Whatever else changes the meaning of the bytes, by name; a mapping, or pairs.
    fields: Union[Mapping[str, str], Tuple[Tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.layout, (StructuredLayout, OpaqueLayout)):
            raise ValueError(f"layout: a StructuredLayout or an OpaqueLayout was expected, and is {self.layout!r}")
        for name in ("tenant", "model", "revision", "lora", "salt", "number_format"):
            text = getattr(self, name)
            least = 1 if name == "tenant" else 0
            if not isinstance(text, str) or not least <= len(text.encode()) <= MAX_TEXT_BYTES:
                raise ValueError(f"{name}: a text of {least} to {MAX_TEXT_BYTES} bytes was expected, and is {text!r}")
        _check_number("tp_size", self.tp_size, 1, 1 << 16)
        _check_number("tp_rank", self.tp_rank, 0, self.tp_size - 1)
        pairs = self.fields.items() if isinstance(self.fields, Mapping) else self.fields
        ordered = tuple(sorted(((str(name), str(value)) for name, value in pairs), key=lambda pair: pair[0].encode()))
        names = [name for name, _ in ordered]
        if len(names) > MAX_FIELDS or len(set(names)) < len(names) or "" in names:
            raise ValueError(f"fields: at most {MAX_FIELDS}, each with a name of its own, and are {names[:MAX_FIELDS + 1]}")
        for name, value in ordered:
            if max(len(name.encode()), len(value.encode())) > MAX_TEXT_BYTES:
                raise ValueError(f"fields: name and value have at most {MAX_TEXT_BYTES} bytes each; {name[:64]!r} has more")
        object.__setattr__(self, "fields", ordered)

    def encode(self) -> bytes:
        """The canonical encoding, which opens the namespace."""
        extra = b"".join(struct.pack("<I", len(text)) + text for pair in tuple(self.fields)
                         for text in (str(pair[0]).encode(), str(pair[1]).encode()))
        fields = (self.tenant.encode(), self.model.encode(), self.revision.encode(), self.lora.encode(),
                  pack("<I", self.tp_rank), pack("<I", self.tp_size), self.salt.encode(),
                  self.layout.encode(), self.number_format.encode(), extra)
        return b"".join(struct.pack("<BI", tag, len(value)) + value for tag, value in enumerate(fields, 1))

    def layer_sizes(self, first: int = 0, count: Optional[int] = None) -> List[int]:
        """Bytes of each of a run of layers; of those from ``first`` on without a count."""
        ends = (0,) + self.layout.layer_ends
        last = len(ends) - 1 if count is None else first + count
        if not 0 <= first < last < len(ends):
            raise ValueError("the layout has no such layers")
        return [end - start for start, end in zip(ends[first:last], ends[first + 1:last + 1])]

    @property
    def id(self) -> bytes:
        """The 16 bytes that stand for this namespace in block keys; the first eight are its tenant's."""
        return tenant_id(self.tenant) + sha256(b"kvcache.namespace.v1" + self.encode()).digest()[:8]


def tenant_id(tenant: str) -> bytes:
    """The eight bytes with which the ids of a tenant's namespaces begin."""
    return sha256(b"kvcache.tenant.v1" + tenant.encode()).digest()[:8]
