"""``KvCacheHiCacheStorage``: the third level of SGLang's HiCache."""
from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .._engines import complaints, engine_module, never_raises
from ..cache import Cache
from ..hashing import Namespace
from ..hints import Hint
from .identity import has_adapters, server_args
from .options import HiCacheOptions
from .pages import is_page, namespace, page_hash, page_pieces, page_sizes

_base = engine_module("sglang.srt.mem_cache.hicache_storage", "KvCacheHiCacheStorage", "SGLang 0.5 or newer")
logger = logging.getLogger("kvcache")


class KvCacheHiCacheStorage(_base.HiCacheStorage):  # type: ignore[name-defined,misc]
    """Pages of HiCache in KvCache.

    With ``interface_v1`` pages go straight between the engine's host memory and the network. Without it the engine passes
    flat copies of pages, which works too and costs a copy. SGLang calls from threads of its own, so calls may wait for
    the network, but never longer than their deadline; none raises, for a thread of the engine's that an exception ends stays
    ended. SGLang takes the minimum over its ranks itself.

    Of a model with further pools (Mamba, sliding window, sparse index, draft) nothing is found or stored: without its part in
    those pools a page is of no use.
    """

    def __init__(self, storage_config: Any, kwargs: Optional[Dict[str, Any]] = None):
        """Settings are those of the key ``kvcache`` in the engine's extra config; wrong ones are an error here."""
        extra = {**(getattr(storage_config, "extra_config", None) or {}), **(kwargs or {})}
        self._options = HiCacheOptions.from_mapping(extra.get("kvcache") or {})
        self._config = storage_config
        self._zero_copy = bool(extra.get("interface_v1", 0))
        self._cache = Cache(options=self._options.cache)
        self._cache.warm_up()
        self._pool: Any = None
        self._space: Optional[Namespace] = None
        self._page_bytes = 0
        self._is_alone = True  # the pool of keys and values, in the model

    @never_raises(lambda: None)
    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Takes over the engine's host memory: from its layout follows the namespace."""
        self.mem_pool_host = mem_pool_host  # as the engine's own class does
        self._register(mem_pool_host)

    @never_raises(lambda: None)
    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: Any) -> None:
        """Notes that the model has another pool, which is not stored."""
        if not _is_main(host_pool_name):
            self._is_alone = False
            complaints.warn(("pool", str(host_pool_name)), "KvCache is not used: the model has the pool %s too, which it does not store",
                            getattr(host_pool_name, "value", host_pool_name))

    @never_raises(lambda: 0)
    def batch_exists(self, keys: List[str], extra_info: Any = None) -> int:
        """How many pages are stored, counted up to the first that is not."""
        if self._space is None or not keys or not self._are_pages(keys):
            return 0
        return self._cache.match(self._space, _hashes(keys)).count

    @never_raises(lambda: _hit_pages(0))
    def batch_exists_v2(self, keys: List[str], pool_transfers: Any = None, extra_info: Any = None) -> Any:
        """The same; nothing when a page needs parts in other pools."""
        needs_others = any(not _is_main(transfer.name) for transfer in pool_transfers or ())
        return _hit_pages(0 if needs_others else self.batch_exists(keys, extra_info))

    @never_raises(lambda: False)
    def exists(self, key: str) -> bool:
        return self.batch_exists([key]) == 1

    @never_raises(dict)
    def batch_get_v2(self, transfers: Any, extra_info: Any = None) -> Dict[Any, List[bool]]:
        """Reads the pages of the main pool; of others nothing is there. The engine takes a pool that is not in the answer for
        whole, so each is in it."""
        return self._each_pool(transfers, extra_info, self.batch_get_v1)

    @never_raises(dict)
    def batch_set_v2(self, transfers: Any, extra_info: Any = None) -> Dict[Any, List[bool]]:
        """Stores the pages of the main pool, when it is alone."""
        return self._each_pool(transfers, extra_info, self.batch_set_v1)

    @never_raises(list)
    def batch_get_v1(self, keys: List[str], host_indices: Any, extra_info: Any = None) -> List[bool]:
        """Reads pages into the host pool. Those that are not there are False, and their memory is undefined."""
        return self._get(keys, lambda: page_pieces(self._pool, host_indices))

    @never_raises(list)
    def batch_set_v1(self, keys: List[str], host_indices: Any, extra_info: Any = None) -> List[bool]:
        """Stores pages from the host pool; True for those that are stored now."""
        return self._set(keys, lambda: page_pieces(self._pool, host_indices), extra_info)

    @never_raises(lambda: None)
    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """A page as a flat tensor, in ``target_location`` when it is given; None when it is not stored."""
        return self.batch_get([key], None if target_location is None else [target_location])[0]

    @never_raises(list)
    def batch_get(self, keys: List[str], target_locations: Any = None, target_sizes: Any = None) -> List[Any]:
        """Pages as flat tensors, None for those that are not stored."""
        targets: List[Any] = []

        def pages() -> List[List[Any]]:
            targets.extend([self._pool.get_dummy_flat_data_page() for _ in keys] if target_locations is None else target_locations)
            return [[target] for target in targets]
        hits = self._get(keys, pages)
        return [targets[index] if hit else None for index, hit in enumerate(hits)]

    @never_raises(lambda: False)
    def set(self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None) -> bool:
        """Stores a flat page."""
        return self.batch_set([key], [value])

    @never_raises(lambda: False)
    def batch_set(self, keys: List[str], values: Any = None, target_locations: Any = None, target_sizes: Any = None) -> bool:
        """Stores flat pages; True when all of them are stored now."""
        return values is not None and all(self._set(keys, lambda: [[value.contiguous()] for value in values], None))

    def clear(self) -> None:
        """Keeps the pages: they are other engines' too. Another ``salt`` begins with none."""
        logger.warning("the pages stored in KvCache stay; another salt begins with none")

    @never_raises(lambda: None)
    def close(self) -> None:
        """Closes the connections."""
        self._cache.close()

    def _register(self, pool: Any) -> None:
        if self._zero_copy:
            sizes, path = page_sizes(pool), "pieces"
        else:
            page = pool.get_dummy_flat_data_page()
            sizes, path = [page.numel() * page.element_size()], "flat"
        arguments = server_args()
        if has_adapters(arguments) and not self._options.adapters_in_keys:
            logger.error("KvCache is not used: the engine serves LoRA adapters, and the page keys of older versions do not tell them "
                         "apart; where those of this version do, set adapters_in_keys")
            return
        if arguments is None:
            logger.warning("this engine's arguments cannot be read: engines with other overrides or scales need another salt")
        self._pool, self._page_bytes = pool, sum(sizes)
        self._space = namespace(self._options, self._config, pool, sizes, path, arguments)
        logger.info("KvCache: pages of %d bytes in namespace %s", self._page_bytes, self._space.id.hex())

    def _are_pages(self, keys: Sequence[str]) -> bool:
        """Whether keys are of the main pool, as nearly all are, and the model has no other."""
        strange = next((key for key in keys if not is_page(key)), None)
        if strange is not None:
            complaints.warn("keys of other pools", "pages of other pools, as %s, are not stored in KvCache", strange[:80])
        return strange is None and self._is_alone

    def _each_pool(self, transfers: Any, extra_info: Any, move: Any) -> Dict[Any, List[bool]]:
        """The answer for every pool; the main one is served when it is alone."""
        transfers = list(transfers or ())
        is_alone = all(_is_main(transfer.name) for transfer in transfers)
        results: Dict[Any, List[bool]] = {}
        for transfer in transfers:
            keys = list(transfer.keys or ())
            results[transfer.name] = move(keys, transfer.host_indices, extra_info) if is_alone else [False] * max(1, len(keys))
        return results

    def _get(self, keys: Sequence[str], pages: Any) -> List[bool]:
        # The engine uses what comes before the first page that is missing.
        return self._move(keys, lambda space: self._cache.get(space, _hashes(keys), pages()))

    def _set(self, keys: Sequence[str], pages: Any, extra_info: Any) -> List[bool]:
        def put(space: Namespace) -> List[bool]:
            previous, depth = _chain(extra_info)
            return [outcome.is_stored for outcome in self._cache.put(
                space, _hashes(keys), pages(), previous, depth, self._options.ttl_seconds, copies=self._options.copies,
                persisted=self._options.persisted, hint=_hint(extra_info))]
        return self._move(keys, put)

    def _move(self, keys: Sequence[str], move: Any) -> List[bool]:
        try:
            if self._space is not None and keys and self._are_pages(keys):
                return move(self._space)
        except Exception as error:
            complaints.warn(("pages", type(error)), "pages could not be moved, the engine goes on without them: %s", error, trace=True)
        return [False] * len(keys)


def _is_main(name: Any) -> bool:
    """Whether a pool is that of the model's keys and values."""
    return str(getattr(name, "value", name)) == "kv"


def _hit_pages(pages: int) -> Any:
    """The engine's answer to a look-up over several pools."""
    result = getattr(_base, "PoolTransferResult", None)
    return SimpleNamespace(kv_hit_pages=pages, extra_pool_hit_pages={}) if result is None else result(pages, {})


def _hashes(keys: Sequence[str]) -> List[bytes]:
    return [page_hash(key) for key in keys]


def _hint(extra_info: Any) -> Optional[Hint]:
    """The request's soft priority and retention, where the engine passes them on."""
    more = getattr(extra_info, "extra_info", None) or {}
    return Hint.of_engine(more.get("priority"), more.get("retention_seconds")) if isinstance(more, dict) else None


def _chain(extra_info: Any) -> Tuple[Optional[bytes], int]:
    """The page before the first one and how many there are, where the engine passes them on."""
    prefix = getattr(extra_info, "prefix_keys", None) or []
    return (page_hash(prefix[-1]) if prefix else None), len(prefix)
