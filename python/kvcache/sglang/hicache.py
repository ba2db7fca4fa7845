"""``KvCacheHiCacheStorage``: the third level of SGLang's HiCache."""
from __future__ import annotations

import logging
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .._engines import engine_module, never_raises
from ..cache import Cache
from ..hashing import Namespace
from .options import HiCacheOptions
from .pages import namespace, page_hash, page_pieces, page_sizes

_base = engine_module("sglang.srt.mem_cache.hicache_storage", "KvCacheHiCacheStorage", "SGLang 0.5 or newer")
logger = logging.getLogger("kvcache")


class KvCacheHiCacheStorage(_base.HiCacheStorage):  # type: ignore[name-defined,misc]
    """Pages of HiCache in KvCache.

    With ``interface_v1`` pages go straight between the engine's host memory and the network. Without it the engine passes
    flat copies of pages, which works too and costs a copy. SGLang calls from threads of its own, so calls may wait for
    the network, but never longer than their deadline; none raises. SGLang takes the minimum over its ranks itself.
    """

    def __init__(self, storage_config: Any, kwargs: Optional[Dict[str, Any]] = None):
        """Settings are those of the key ``kvcache`` in the engine's extra config; wrong ones are an error here."""
        extra = {**(getattr(storage_config, "extra_config", None) or {}), **(kwargs or {})}
        self._options = HiCacheOptions.from_mapping(extra.get("kvcache") or {})
        self._config = storage_config
        self._zero_copy = bool(extra.get("interface_v1", 0))
        self._cache = Cache(options=self._options.cache)
        self._pool: Any = None
        self._space: Optional[Namespace] = None
        self._page_bytes = 0

    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Takes over the engine's host memory: from its layout follows the namespace."""
        super().register_mem_pool_host(mem_pool_host)
        try:
            self._register(mem_pool_host)
        except Exception:
            logger.exception("KvCache is not used: this host pool cannot be stored")

    @never_raises(lambda: 0)
    def batch_exists(self, keys: List[str], extra_info: Any = None) -> int:
        """How many pages are stored, counted up to the first that is not."""
        if self._space is None or not keys:
            return 0
        return self._cache.match(self._space, _hashes(keys)).count

    def exists(self, key: str) -> bool:
        return self.batch_exists([key]) == 1

    def batch_get_v1(self, keys: List[str], host_indices: Any, extra_info: Any = None) -> List[bool]:
        """Reads pages into the host pool. Those that are not there are False, and their memory is undefined."""
        return self._get(keys, lambda: page_pieces(self._pool, host_indices))

    def batch_set_v1(self, keys: List[str], host_indices: Any, extra_info: Any = None) -> List[bool]:
        """Stores pages from the host pool; True for those that are stored now."""
        return self._set(keys, lambda: page_pieces(self._pool, host_indices), extra_info)

    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """A page as a flat tensor, in ``target_location`` when it is given; None when it is not stored."""
        return self.batch_get([key], None if target_location is None else [target_location])[0]

    def batch_get(self, keys: List[str], target_locations: Any = None, target_sizes: Any = None) -> List[Any]:
        """Pages as flat tensors, None for those that are not stored."""
        try:
            targets = ([self._pool.get_dummy_flat_data_page() for _ in keys] if target_locations is None
                       else list(target_locations))
        except Exception:
            logger.exception("a page could not be read")
            return [None] * len(keys)
        hits = self._get(keys, lambda: [[target] for target in targets])
        return [target if hit else None for target, hit in zip(targets, hits)]

    def set(self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None) -> bool:
        """Stores a flat page."""
        return self.batch_set([key], [value])

    def batch_set(self, keys: List[str], values: Any = None, target_locations: Any = None, target_sizes: Any = None) -> bool:
        """Stores flat pages; True when all of them are stored now."""
        return values is not None and all(self._set(keys, lambda: [[value.contiguous()] for value in values], None))

    def clear(self) -> None:
        """Keeps the pages: they are other engines' too. Another ``salt`` begins with none."""
        logger.warning("the pages stored in KvCache stay; another salt begins with none")

    def close(self) -> None:
        """Closes the connections."""
        self._cache.close()

    def _register(self, pool: Any) -> None:
        if self._zero_copy:
            sizes, path = page_sizes(pool), "pieces"
        else:
            page = pool.get_dummy_flat_data_page()
            sizes, path = [page.numel() * page.element_size()], "flat"
        self._pool, self._page_bytes = pool, sum(sizes)
        self._space = namespace(self._options, self._config, pool, sizes, path)
        logger.info("KvCache: pages of %d bytes in namespace %s", self._page_bytes, self._space.id.hex())

    def _get(self, keys: Sequence[str], pages: Any) -> List[bool]:
        try:
            if self._space is None or not keys:
                return [False] * len(keys)
            # The engine uses what comes before the first page that is missing.
            return self._cache.get(self._space, _hashes(keys), pages())
        except Exception:
            logger.exception("pages could not be read; the engine goes on without them")
            return [False] * len(keys)

    def _set(self, keys: Sequence[str], pages: Any, extra_info: Any) -> List[bool]:
        try:
            if self._space is None or not keys:
                return [False] * len(keys)
            previous, depth = _chain(extra_info)
            outcomes = self._cache.put(self._space, _hashes(keys), pages(), previous, depth, self._options.ttl_seconds,
                                       copies=self._options.copies, persisted=self._options.persisted)
            return [outcome.is_stored for outcome in outcomes]
        except Exception:
            logger.exception("pages could not be stored; the engine goes on without that")
            return [False] * len(keys)


def _hashes(keys: Sequence[str]) -> List[bytes]:
    return [page_hash(key) for key in keys]


def _chain(extra_info: Any) -> Tuple[Optional[bytes], int]:
    """The page before the first one and how many there are, where the engine passes them on."""
    prefix = getattr(extra_info, "prefix_keys", None) or []
    return (page_hash(prefix[-1]) if prefix else None), len(prefix)
