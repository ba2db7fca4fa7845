"""Pages of SGLang's host memory, and the namespaces that they are stored in.

A page is one block of the cache. Its bytes are the pieces of memory that the host pool names for it, in the pool's order:

====================  ===========================================  ======================
``layer_first``       ``(2, layers, tokens, heads, dim)``          K and V of every layer
``page_first``        ``(2, tokens, layers, heads, dim)``          K, V
``page_first_direct`` ``(2, pages, layers, page, heads, dim)``     K, V
``page_head``         ``(2, pages, heads, page, layers, dim)``     K, V
MLA                   the same without the first dimension         one, or one a layer
====================  ===========================================  ======================

Layout, shape and type are part of the namespace: an engine with another layout misses, and never reads these bytes.
"""
from __future__ import annotations

import ctypes
from hashlib import sha256
from itertools import accumulate
from typing import Any, List, Sequence

from ..hashing import Namespace, OpaqueLayout, engine_key_hash
from .identity import engine_fields, number_format
from .options import HiCacheOptions


def page_pieces(pool: Any, host_indices: Any) -> List[List[memoryview]]:
    """For every page the pieces of host memory it consists of. The memory is the pool's, which outlives the engine's
    calls; nothing is copied."""
    pointers, sizes = pool.get_page_buffer_meta(host_indices)
    lengths = sizes if isinstance(sizes, (list, tuple)) else [sizes] * len(pointers)
    pages = len(host_indices) // pool.page_size
    if pages == 0 or len(pointers) % pages or len(lengths) != len(pointers):
        raise ValueError(f"{len(pointers)} pieces are no {pages} pages")
    each = len(pointers) // pages
    views = [memoryview((ctypes.c_ubyte * int(length)).from_address(int(pointer))).cast("B")
             for pointer, length in zip(pointers, lengths)]
    return [views[page * each:(page + 1) * each] for page in range(pages)]


def page_sizes(pool: Any) -> List[int]:
    """Bytes of the pieces of a page, of any page."""
    import torch  # the pool's own; only its first page is looked at
    return [len(piece) for piece in page_pieces(pool, torch.arange(pool.page_size))[0]]


def is_page(key: str) -> bool:
    """Whether a key names a page of the model. Those of other pools, as of a draft model, have the pool's name appended with a
    dot, or in older versions a letter and a colon in front."""
    return "." not in key and ":" not in key


def page_hash(key: str) -> bytes:
    """The name of a page in the cache. Keys longer than the cache takes are hashed first."""
    data = key.encode()
    return engine_key_hash(data if len(data) <= 256 else sha256(data).digest())


def namespace(options: HiCacheOptions, config: Any, pool: Any, sizes: Sequence[int], path: str, arguments: Any = None) -> Namespace:
    """Where the pages of this rank are. ``path`` tells pieces in the pool's order from pages that the engine flattened.
    A latent (MLA) is the same on every tensor-parallel rank, and shared by all of them."""
    fields = {**engine_fields(config, pool, arguments, bool(options.model)), "path": path, **options.fields}
    shared = bool(config.is_mla_model)
    return Namespace(options.model or (config.model_name or ""), OpaqueLayout(int(pool.page_size), tuple(accumulate(sizes))),
                     options.cache.tenant, options.revision, "", 0 if shared else config.tp_rank,
                     1 if shared else config.tp_size, options.salt, number_format(pool), fields)
