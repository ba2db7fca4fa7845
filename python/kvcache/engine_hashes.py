"""The names that engines give to their blocks, computed as the engines do.

- vLLM, ``prefix_caching_hash_algo="sha256_cbor"``: SHA-256 over the canonical CBOR (RFC 8949, section 4.2.1) of
  ``(parent hash, tokens, extra keys or None)``; the parent of the first block is the hash of the CBOR text of
  PYTHONHASHSEED. Its default algorithm ``sha256`` is over a pickle and is the same in Python only.
- SGLang HiCache: SHA-256 over the parent's 32 bytes and the tokens as u32 little-endian, no seed, in hex.
"""
from __future__ import annotations

import struct
from hashlib import sha256
from typing import Any, List, Optional, Sequence, Tuple

ExtraKeys = Optional[Tuple[Any, ...]]


def vllm_none_hash(seed: str) -> bytes:
    """The parent of the first block, for a PYTHONHASHSEED. Without one vLLM takes random bytes, and its hashes mean
    nothing to another process."""
    return sha256(cbor(seed)).digest()


def vllm_block_hash(parent: bytes, tokens: Sequence[int], extra_keys: ExtraKeys = None) -> bytes:
    """The hash of a full block. ``extra_keys`` are LoRA name, (multi-modal id, offset), cache salt (first block only) and
    digest of prompt embeddings, in this order and as far as there are any."""
    return sha256(cbor((parent, tuple(tokens), extra_keys))).digest()


def vllm_chain(tokens: Sequence[int], block_size: int, seed: str,
               extra_keys: Sequence[ExtraKeys] = ()) -> List[bytes]:
    """The hashes of the full blocks of a prompt; ``extra_keys`` one a block, as far as given."""
    parent = vllm_none_hash(seed)
    hashes = []
    for index in range(len(tokens) // block_size):
        extra = extra_keys[index] if index < len(extra_keys) else None
        parent = vllm_block_hash(parent, tokens[index * block_size:(index + 1) * block_size], extra)
        hashes.append(parent)
    return hashes


def sglang_page_key(tokens: Sequence[int], parent: Optional[str] = None) -> str:
    """The key of a page, and so of the prefix that ends with it; ``parent`` is the key of the page before."""
    return sha256(bytes.fromhex(parent or "") + struct.pack(f"<{len(tokens)}I", *tokens)).hexdigest()


def sglang_chain(tokens: Sequence[int], page_size: int) -> List[str]:
    """The keys of the full pages of a prompt."""
    keys: List[str] = []
    for start in range(0, len(tokens) - page_size + 1, page_size):
        keys.append(sglang_page_key(tokens[start:start + page_size], keys[-1] if keys else None))
    return keys


def cbor(value: Any) -> bytes:
    """Canonical CBOR of what a block hash is made of: None, booleans, integers of 64 bits, floats, bytes, texts, and
    tuples or lists of these."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (bytes, bytearray)):
        return _head(2, len(value)) + bytes(value)
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, (tuple, list)):
        return _head(4, len(value)) + b"".join(map(cbor, value))
    raise TypeError(f"a block hash has no {type(value).__name__}")


def _head(major: int, number: int) -> bytes:
    """The shortest head that holds the number."""
    if number < 24:
        return bytes([major << 5 | number])
    for size, (code, limit) in zip("BHIQ", ((24, 1 << 8), (25, 1 << 16), (26, 1 << 32), (27, 1 << 64))):
        if number < limit:
            return bytes([major << 5 | code]) + struct.pack(">" + size, number)
    raise ValueError("an integer of more than 64 bits")


def _float(value: float) -> bytes:
    """The shortest float that keeps the value."""
    if value != value:
        return b"\xf9\x7e\x00"
    for code, size in ((b"\xf9", "e"), (b"\xfa", "f")):
        try:
            packed = struct.pack(">" + size, value)
        except OverflowError:
            continue
        if struct.unpack(">" + size, packed)[0] == value:
            return code + packed
    return b"\xfb" + struct.pack(">d", value)
