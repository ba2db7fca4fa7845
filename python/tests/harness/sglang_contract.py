"""A simulation of the contract between SGLang's HiCache and a storage backend. **It is not the engine**: host pools in
SGLang's layouts, and the calls of its cache controller in their order (look up, read, store, in batches)."""
import sys
import types
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import torch

from kvcache.engine_hashes import sglang_chain

LAYOUTS = ("layer_first", "page_first", "page_first_direct", "page_head")


class HiCacheStorage:
    """What a backend inherits today: the calls of models with several pools are there, and not implemented."""

    def register_mem_pool_host(self, mem_pool_host) -> None:
        self.mem_pool_host = mem_pool_host

    def register_mem_host_pool_v2(self, host_pool, host_pool_name) -> None:
        self.registered_pools = {**getattr(self, "registered_pools", {}), host_pool_name: host_pool}

    def batch_exists_v2(self, keys, pool_transfers=None, extra_info=None):
        raise NotImplementedError()

    def batch_get_v2(self, transfers, extra_info=None):
        raise NotImplementedError()

    def batch_set_v2(self, transfers, extra_info=None):
        raise NotImplementedError()

    def get_stats(self):
        return None


class PoolName(str, Enum):
    KV = "kv"
    MAMBA = "mamba"
    INDEXER = "indexer"
    DRAFT = "draft"


@dataclass
class PoolTransfer:
    name: PoolName
    host_indices: Any = None
    keys: Optional[List[str]] = None


@dataclass
class PoolTransferResult:
    kv_hit_pages: int
    extra_pool_hit_pages: Dict[str, int]


def install() -> None:
    """Puts the interface where SGLang has it. The real one wins where SGLang is installed."""
    path = "sglang.srt.mem_cache.hicache_storage"
    try:
        __import__(path)
        return
    except ImportError:
        pass
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    for item in (HiCacheStorage, PoolName, PoolTransfer, PoolTransferResult):
        setattr(sys.modules[path], item.__name__, item)


def set_server_args(monkeypatch, **arguments) -> None:
    """The engine's arguments, where versions of 2026 have them."""
    for name in ("sglang", "sglang.srt"):
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name) or types.ModuleType(name))
    module = types.ModuleType("sglang.srt.server_args")
    module.get_global_server_args = lambda: SimpleNamespace(**arguments)
    monkeypatch.setitem(sys.modules, "sglang.srt.server_args", module)


class HostPool:
    """Host memory for pages. ``kv`` views it as (part, token, layer, head, dim), whatever the layout."""

    def __init__(self, layout: str, pages: int = 16, page_size: int = 4, layers: int = 3, heads: int = 2, dim: int = 8,
                 parts: int = 2, dtype=torch.bfloat16, device_dtype=None):
        self.layout, self.page_size, self.layer_num, self.head_num, self.head_dim = layout, page_size, layers, heads, dim
        self.dtype, self.size = dtype, pages * page_size
        # Both kinds of fp8 are kept as bytes; the device's pool says which it is.
        self.device_pool = SimpleNamespace(dtype=device_dtype or dtype, store_dtype=dtype)
        shape, order = {
            "layer_first": ((layers, self.size, heads, dim), (1, 0, 2, 3)),
            "page_first": ((self.size, layers, heads, dim), (0, 1, 2, 3)),
            "page_first_direct": ((pages, layers, page_size, heads, dim), (0, 2, 1, 3, 4)),
            "page_head": ((pages, heads, page_size, layers, dim), (0, 2, 3, 1, 4)),
        }[layout]
        self.parts = parts
        self.kv_buffer = torch.zeros((parts, *shape), dtype=dtype)
        self._order = (0, *(1 + dim for dim in order))

    @property
    def _by_token(self) -> torch.Tensor:
        return self.kv_buffer.permute(self._order)

    def page(self, page: int) -> torch.Tensor:
        """(part, token, layer, head, dim) of a page."""
        view = self._by_token
        return view[:, page] if view.dim() == 6 else view[:, page * self.page_size:(page + 1) * self.page_size]

    def get_page_buffer_meta(self, indices):
        item = self.kv_buffer.element_size()
        row = self.head_num * self.head_dim * item
        part = self.kv_buffer[0].numel() * item
        pointers: List[int] = []
        for index in indices.tolist()[::self.page_size]:
            if self.layout == "layer_first":
                starts = [(layer * self.size + index) * row for layer in range(self.layer_num)]
            else:
                starts = [index * row * self.layer_num]
            for start in starts:
                pointers += [self.kv_buffer.data_ptr() + start + p * part for p in range(self.parts)]
        layers = 1 if self.layout == "layer_first" else self.layer_num
        return pointers, [self.page_size * row * layers] * len(pointers)

    def get_dummy_flat_data_page(self):
        return torch.zeros(self.page(0).numel(), dtype=self.dtype)


class Controller:
    """The calls of HiCache's controller on its prefetch and backup threads."""

    def __init__(self, backend, pool: HostPool, batch: int = 3):
        self.backend, self.pool, self.batch = backend, pool, batch
        backend.register_mem_pool_host(pool)

    def indices(self, pages):
        return torch.cat([torch.arange(page * self.pool.page_size, (page + 1) * self.pool.page_size) for page in pages])

    def backup(self, tokens, pages) -> bool:
        keys = sglang_chain(tokens, self.pool.page_size)
        done = True
        for start in range(0, len(keys), self.batch):
            part = slice(start, start + self.batch)
            info = SimpleNamespace(prefix_keys=keys[:start], extra_info=None)
            done &= all(self.backend.batch_set_v1(keys[part], self.indices(pages[part]), info))
        return done

    def prefetch(self, tokens, pages) -> int:
        """Looks up and reads; returns how many pages are in place, counted up to the first that is not."""
        keys = sglang_chain(tokens, self.pool.page_size)
        found = 0
        for start in range(0, len(keys), self.batch):
            batch = keys[start:start + self.batch]
            hits = self.backend.batch_exists(batch, SimpleNamespace(prefix_keys=keys[:start]))
            found += hits
            if hits < len(batch):
                break
        read = 0
        for start in range(0, found, self.batch):
            part = slice(start, min(start + self.batch, found))
            for hit in self.backend.batch_get_v1(keys[part], self.indices(pages[part]), None):
                if not hit:
                    return read
                read += 1
        return read


class HybridController(Controller):
    """The calls for a model with further pools: what any of them raises ends a thread of the engine for good."""

    def __init__(self, backend, pool: HostPool, pools: Dict[PoolName, HostPool]):
        super().__init__(backend, pool)
        self.pools = pools
        for name, other in {PoolName.KV: pool, **pools}.items():
            backend.register_mem_host_pool_v2(other, name)

    def transfers(self, keys, pages) -> List[PoolTransfer]:
        return [PoolTransfer(name, self.indices(pages), list(keys)) for name in self.pools]

    def prefetch(self, tokens, pages) -> int:
        keys = sglang_chain(tokens, self.pool.page_size)
        found = self.backend.batch_exists_v2(keys, self.transfers(keys, pages), None).kv_hit_pages
        read = self.backend.batch_get_v1(keys[:found], self.indices(pages[:found]), None) if found else []
        hits = [read.index(False) if False in read else len(read)]
        for results in self.backend.batch_get_v2(self.transfers(keys, pages)).values():
            hits.append(results.index(False) if False in results else len(results))
        return min(hits)

    def backup(self, tokens, pages) -> bool:
        keys = sglang_chain(tokens, self.pool.page_size)
        answers = self.backend.batch_set_v2(self.transfers(keys, pages))
        assert set(answers) == set(self.pools) and all(len(results) == len(keys) for results in answers.values())
        return super().backup(tokens, pages)
