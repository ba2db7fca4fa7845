"""KV cache groups of an engine, and the runs of its blocks that are one block of the cache."""
from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from math import gcd
from typing import Any, List, Optional, Sequence, Tuple

from ..hashing import engine_key_hash
from ..identity import digest
from .identity import bytes_with_scales, spec_fields

#: The block that stands for "none" in vLLM's block tables.
NULL_BLOCK = 0

_FULL = ("FullAttentionSpec", "MLAAttentionSpec", "TQFullAttentionSpec")
_WINDOW = ("SlidingWindowSpec", "SlidingWindowMLASpec")
_LATENT = ("MLAAttentionSpec", "SlidingWindowMLASpec")


@dataclass(frozen=True)
class Group:
    """One KV cache group: layers whose blocks are allocated together."""
    index: int
    layer_names: Tuple[str, ...]
    #: Tokens of a block of the engine.
    block_size: int
    #: Tokens of which a layer sees the last ones only; None for all.
    window: Optional[int]
    #: Whether every rank has the same bytes, as with a latent that is not split by heads.
    is_replicated: bool
    #: How the engine describes the cache of each layer, as far as that changes the meaning of its bytes.
    description: str = ""
    #: Bytes that a block of a layer has together with its scales, where these may lie elsewhere; else 0.
    bytes_with_scales: int = 0

    def blocks_in(self, tokens_per_block: int) -> int:
        """Blocks of the engine in a block of the cache."""
        return tokens_per_block // self.block_size

    def first_needed(self, tokens: int) -> int:
        """The first token that a request with so many computed tokens still reads."""
        return 0 if self.window is None else max(0, tokens - self.window + 1)


def read_groups(kv_cache_config: Any) -> List[Group]:
    """The groups of an engine. ``ValueError`` when one holds a state that is not a row of blocks of attention, as
    Mamba's: the sentence says what it is."""
    groups = []
    for index, group in enumerate(kv_cache_config.kv_cache_groups):
        spec = group.kv_cache_spec
        layers = getattr(spec, "kv_cache_specs", None)
        kinds = {type(layer).__name__ for layer in (layers.values() if layers else (spec,))}
        sample = next(iter(layers.values())) if layers else spec
        if not kinds <= set(_FULL + _WINDOW) or (kinds & set(_FULL) and kinds & set(_WINDOW)):
            raise ValueError(f"KV cache group {index} is of {', '.join(sorted(kinds))}, which this connector does not store")
        each = dict(layers) if layers else {"": spec}
        window = sample.sliding_window if kinds <= set(_WINDOW) else None
        groups.append(Group(index, tuple(group.layer_names), int(spec.block_size), window, kinds <= set(_LATENT),
                            digest({name: [type(layer).__name__, spec_fields(layer)] for name, layer in each.items()}),
                            max(map(bytes_with_scales, each.values()))))
    if not groups:
        raise ValueError("the engine has no KV cache")
    return groups


def alignment(groups: Sequence[Group]) -> int:
    """The smallest number of tokens that is whole blocks of every group."""
    unit = 1
    for group in groups:
        unit = unit * group.block_size // gcd(unit, group.block_size)
    return unit


def grouped_tokens(wanted: int, unit: int) -> int:
    """Tokens of a block of the cache: the wanted number, in whole units, and at least one."""
    return max(unit, wanted // unit * unit)


def run_hashes(block_hashes: Sequence[Any], per_run: int, group: int, extra: bytes, first: int, last: int) -> List[bytes]:
    """Names of the runs ``first`` to ``last`` (not included): the engine's hash of the last block in a run names the
    run, for it names everything before it too."""
    return [engine_key_hash(bytes(block_hashes[(run + 1) * per_run - 1]) + extra, group) for run in range(first, last)]


def request_extra(request: Any) -> bytes:
    """What is hashed in beside the engine's hash. The engine puts the names of LoRA adapters and salts of tenants into
    one untagged list, where one can be taken for the other; here they are told apart, and adapters of one name by where they
    were loaded from."""
    lora = getattr(request, "lora_request", None)
    name = "" if lora is None else str(getattr(lora, "lora_name", lora))
    path = "" if lora is None else str(getattr(lora, "lora_path", None) or "")
    salt = getattr(request, "cache_salt", None) or ""
    if not name and not salt:
        return b""
    fields = b"".join(struct.pack("<BI", tag, len(text)) + text
                      for tag, text in enumerate((name.encode(), salt.encode(), path.encode()), 1))
    return sha256(b"kvcache.vllm.request.v1" + fields).digest()
