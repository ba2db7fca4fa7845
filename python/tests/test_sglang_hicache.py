"""KvCacheHiCacheStorage in the contract simulation of ``harness.sglang_contract``, which is not the engine.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import os
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")

from harness import sglang_contract  # noqa: E402
from harness.fake_silo import GET, PUT, FakeSilo  # noqa: E402
from harness.silo_fixtures import endpoint, silo  # noqa: E402,F401
from harness.sglang_contract import LAYOUTS, Controller, HostPool  # noqa: E402

sglang_contract.install()
TOKENS = list(range(1000, 1034))  # eight pages of four, and a rest


@pytest.fixture
def controller():
    from kvcache.sglang import KvCacheHiCacheStorage
    salt, backends = os.urandom(8).hex(), []

    def make(endpoint, pool, settings=None, interface_v1=1, **config):
        values = {"tp_rank": 0, "tp_size": 1, "pp_rank": 0, "pp_size": 1, "is_mla_model": pool.parts == 1,
                  "is_page_first_layout": True, "model_name": "m", **config}
        extra = {"backend_name": "kvcache", "module_path": "kvcache.sglang", "class_name": "KvCacheHiCacheStorage",
                 "interface_v1": interface_v1, "prefetch_threshold": 256,
                 "kvcache": {"endpoints": endpoint, "salt": salt, "match_timeout": 10, **(settings or {})}}
        backend = KvCacheHiCacheStorage(SimpleNamespace(extra_config=extra, **values), extra)
        backends.append(backend)
        return Controller(backend, pool)
    yield make
    for backend in backends:
        backend.close()


def filled(layout: str, **fields) -> HostPool:
    pool = HostPool(layout, **fields)
    pool.kv_buffer.copy_(torch.randn(pool.kv_buffer.shape, generator=torch.Generator().manual_seed(1)))
    return pool


PAGES, OTHERS = [2, 3, 5, 7, 11, 13, 0, 1], [15, 14, 1, 2, 9, 0, 4, 3]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parts", [2, 1])
def test_round_trip_in_every_layout(endpoint, controller, layout, parts):
    pool = filled(layout, parts=parts, heads=2 if parts == 2 else 1)
    assert controller(endpoint, pool).backup(TOKENS, PAGES)
    # Another number of pages: the bytes of a page do not depend on how many there are.
    other = HostPool(layout, pages=17, parts=parts, heads=2 if parts == 2 else 1)
    assert controller(endpoint, other).prefetch(TOKENS, OTHERS) == 8
    for source, target in zip(PAGES, OTHERS):
        assert torch.equal(pool.page(source).contiguous().view(torch.int16), other.page(target).contiguous().view(torch.int16))
    untouched = set(range(16)) - set(OTHERS)
    assert all(not other.page(page).any() for page in untouched)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flat_pages(endpoint, controller, layout):
    pool = filled(layout)
    backend = controller(endpoint, pool, interface_v1=0).backend
    keys = [f"{i:064x}" for i in range(3)]
    pages = [pool.page(i).flatten() for i in range(3)]
    assert backend.batch_set(keys, pages) and backend.set(keys[0], pages[0])
    targets = [pool.get_dummy_flat_data_page() for _ in range(3)]
    assert all(a is b for a, b in zip(backend.batch_get(keys, targets), targets))
    assert all(torch.equal(a.view(torch.int16), b.view(torch.int16)) for a, b in zip(targets, pages))
    assert torch.equal(backend.get(keys[1]).view(torch.int16), pages[1].view(torch.int16))
    assert backend.get("f" * 64) is None and backend.exists(keys[2]) and not backend.exists("f" * 64)
    assert backend.set(keys[0], torch.zeros(3)) is False and backend.get(keys[0], torch.zeros(3)) is None


def test_hits_are_counted_up_to_the_first_gap(silo, controller):
    user = controller(silo.endpoint, filled("page_first"))
    user.backup(TOKENS, PAGES)
    del silo.blocks[list(silo.blocks)[4]]
    assert user.prefetch(TOKENS, OTHERS) == 4
    assert user.prefetch(TOKENS[:8] + [7] + TOKENS[9:], OTHERS) == 2
    assert user.backend.batch_exists([]) == 0


def test_chain_is_passed_on(silo, controller):
    controller(silo.endpoint, filled("page_first")).backup(TOKENS, PAGES)
    hashes = [name for put in silo.puts for name in put["hashes"]]
    assert [put["depth"] for put in silo.puts] == [0, 3, 6]
    assert [put["previous"] for put in silo.puts] == [bytes(32), hashes[2], hashes[5]]


def test_layouts_ranks_models_and_tenants_never_meet(silo, controller):
    controller(silo.endpoint, filled("page_first")).backup(TOKENS, PAGES)
    for pool, config, settings in ((HostPool("page_first_direct"), {}, {}), (HostPool("page_head"), {}, {}),
                                   (HostPool("page_first", dtype=torch.float16), {}, {}),
                                   (HostPool("page_first"), {"tp_size": 2}, {}), (HostPool("page_first"), {"pp_size": 2}, {}),
                                   (HostPool("page_first"), {"model_name": "other"}, {}),
                                   (HostPool("page_first"), {"attn_cp_size": 2}, {}),
                                   (HostPool("page_first"), {}, {"salt": "other"}), (HostPool("page_first"), {}, {"revision": "2"})):
        assert controller(silo.endpoint, pool, settings, **config).prefetch(TOKENS, OTHERS) == 0
        assert not pool.kv_buffer.any()
    with FakeSilo(tenant="other"):
        other = controller(silo.endpoint, HostPool("page_first"), {"tenant": "other"})
        assert other.prefetch(TOKENS, OTHERS) == 0


def test_latent_is_shared_by_all_ranks(silo, controller):
    controller(silo.endpoint, filled("page_first", parts=1, heads=1), tp_rank=0, tp_size=4).backup(TOKENS, PAGES)
    assert controller(silo.endpoint, HostPool("page_first", parts=1, heads=1), tp_rank=3, tp_size=8).prefetch(TOKENS, OTHERS) == 8


def test_no_cluster(controller):
    user = controller("tcp:127.0.0.1:1", filled("page_first"))
    for _ in range(5):
        assert user.prefetch(TOKENS, OTHERS) == 0 and user.backup(TOKENS, PAGES) is False
    assert user.backend.batch_get_v1(["a", "b"], user.indices([0, 1])) == [False, False]
    assert user.backend.get("a" * 64) is None and user.backend.set("a" * 64, torch.zeros(4)) is False


def test_silo_that_goes_away_in_mid_load(silo, controller):
    user = controller(silo.endpoint, filled("page_first"))
    user.backup(TOKENS, PAGES)
    silo.break_after = 2
    silo.before = lambda kind: b"" if kind == GET and silo.count(GET) > 1 else None
    assert user.prefetch(TOKENS, OTHERS) == 2


def test_half_of_a_page_is_never_stored(silo, controller):
    user = controller(silo.endpoint, filled("page_first"))
    silo.before = lambda kind: b"" if kind == PUT else None
    assert user.backup(TOKENS, PAGES) is False and not silo.blocks


def test_mistakes_of_the_caller_are_misses(silo, controller):
    user = controller(silo.endpoint, filled("page_first"))
    assert user.backend.batch_get_v1(["a", "b"], user.indices([0])) == [False, False]
    assert user.backend.batch_set_v1(["a"], user.indices([0, 1])) == [False]
    from kvcache.sglang import KvCacheHiCacheStorage
    with pytest.raises(ValueError, match="colour"):
        KvCacheHiCacheStorage(SimpleNamespace(extra_config={"kvcache": {"colour": "red"}}))
    # Before the engine has registered its memory nothing is stored, and nothing fails.
    early = KvCacheHiCacheStorage(SimpleNamespace(extra_config={"kvcache": {"endpoints": silo.endpoint}}))
    assert early.batch_exists(["a"]) == 0 and early.batch_get(["a"]) == [None] and early.batch_set(["a"], [torch.zeros(1)]) is False
