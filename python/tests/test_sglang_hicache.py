"""KvCacheHiCacheStorage in the contract simulation of ``harness.sglang_contract``, which is not the engine.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import inspect
import os
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")

from harness import sglang_contract  # noqa: E402
from harness.fake_silo import GET, PUT, FakeSilo  # noqa: E402
from harness.silo_fixtures import endpoint, silo  # noqa: E402,F401
from harness.sglang_contract import (LAYOUTS, Controller, HostPool, HybridController, PoolName, PoolTransfer,  # noqa: E402
                                     set_server_args)

sglang_contract.install()
TOKENS = list(range(1000, 1034))  # eight pages of four, and a rest


@pytest.fixture(autouse=True)
def fresh_complaints(monkeypatch):
    """What was told in another test is told again."""
    from kvcache import _engines
    monkeypatch.setattr(_engines.complaints, "_told", {})


@pytest.fixture
def controller():
    from kvcache.sglang import KvCacheHiCacheStorage
    salt, backends = os.urandom(8).hex(), []

    def make(endpoint, pool, settings=None, interface_v1=1, pools=None, **config):
        values = {"tp_rank": 0, "tp_size": 1, "pp_rank": 0, "pp_size": 1, "is_mla_model": pool.parts == 1,
                  "is_page_first_layout": True, "model_name": "m", **config}
        extra = {"backend_name": "kvcache", "module_path": "kvcache.sglang", "class_name": "KvCacheHiCacheStorage",
                 "interface_v1": interface_v1, "prefetch_threshold": 256,
                 "kvcache": {"endpoints": endpoint, "salt": salt, "match_timeout": 10, **(settings or {})}}
        backend = KvCacheHiCacheStorage(SimpleNamespace(extra_config=extra, **values), extra)
        backends.append(backend)
        return Controller(backend, pool) if pools is None else HybridController(backend, pool, pools)
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


def namespace_of(controller, pool=None, settings=None, arguments=None, monkeypatch=None, path=1, **config) -> bytes:
    if arguments is not None:
        set_server_args(monkeypatch, **arguments)
    return controller("tcp:127.0.0.1:1", pool or HostPool("page_first"), {"salt": "s", **(settings or {})}, path, **config).backend._space


def test_each_thing_that_changes_the_meaning_of_bytes_makes_another_namespace(controller, monkeypatch, tmp_path):
    arguments = {"model_path": "/m", "kv_cache_dtype": "auto", "json_model_override_args": "{}", "enable_lora": False, "lora_paths": None}

    def space(**changed):
        return namespace_of(controller, monkeypatch=monkeypatch, **{"arguments": arguments, **changed})
    scales = tmp_path / "scales.json"
    scales.write_text("k=1")
    byte = torch.uint8
    spaces = [
        space(), space(path=0),
        *(space(pool=HostPool("page_first", dtype=byte, device_dtype=kind))
          for kind in (byte, "torch.float8_e4m3fn", "torch.float8_e5m2", "torch.float8_e4m3fnuz", "torch.float4_e2m1fn_x2")),
        *(space(pool=HostPool(layout)) for layout in LAYOUTS if layout != "page_first"),
        *(space(pool=HostPool("page_first", **shape)) for shape in ({"layers": 4}, {"heads": 4}, {"dim": 4}, {"page_size": 8})),
        *(space(**{name: value}) for name, value in (
            ("tp_rank", 1), ("tp_size", 2), ("pp_rank", 1), ("pp_size", 2), ("attn_cp_rank", 1), ("attn_cp_size", 2),
            ("tp_lcm_size", 4), ("should_split_heads", True), ("model_name", "other"), ("is_mla_model", True))
          if (name, value) != ("tp_rank", 1)), space(tp_rank=1, tp_size=2),
        *(space(arguments={**arguments, name: value}) for name, value in (
            ("kv_cache_dtype", "fp8_e4m3"), ("kv_cache_dtype", "fp8_e5m2"), ("kv_cache_dtype", "fp4_e2m1"), ("quantization", "fp8"),
            ("dtype", "float16"), ("json_model_override_args", '{"rope_theta": 1}'), ("revision", "r"), ("model_path", "/other"),
            ("load_format", "dummy"), ("quantization_param_path", str(scales)), ("quantization_param_path", "/nowhere"))),
        *(space(settings={name: value}) for name, value in (
            ("salt", "other"), ("revision", "x"), ("model", "x"), ("tenant", "x"), ("fields", {"a": "b"}), ("fields", {"a": "c"})))]
    scales.write_text("k=2")
    spaces.append(space(arguments={**arguments, "quantization_param_path": str(scales)}))
    assert len({each.id for each in spaces}) == len(spaces)
    assert spaces[3].number_format == "float8_e4m3fn"
    # What changes nothing is not in it.
    assert space(pool=HostPool("page_first", pages=99), arguments={**arguments, "load_format": "safetensors"}, dp_rank=3) == space()


def test_engine_that_does_not_say_its_arguments(controller):
    assert namespace_of(controller) is not None


def test_adapters_that_page_keys_do_not_tell_apart_are_not_served(silo, controller, monkeypatch, caplog):
    set_server_args(monkeypatch, lora_paths=["a"], enable_lora=True)
    user = controller(silo.endpoint, filled("page_first"))
    assert user.backup(TOKENS, PAGES) is False and user.prefetch(TOKENS, OTHERS) == 0 and not silo.requests
    assert [record.levelname for record in caplog.records if "adapters_in_keys" in record.message] == ["ERROR"]
    assert controller(silo.endpoint, filled("page_first"), {"adapters_in_keys": True}).backup(TOKENS, PAGES)


def test_model_with_further_pools_finds_and_stores_nothing_and_no_thread_ends(silo, controller, caplog):
    pools = {PoolName.MAMBA: filled("page_first"), PoolName.INDEXER: filled("page_first", dim=2)}
    user = controller(silo.endpoint, filled("page_first"), pools=pools)
    for _ in range(5):
        user.backup(TOKENS, PAGES)
        assert user.prefetch(TOKENS, OTHERS) == 0
    assert not silo.blocks, "what nobody can use is not stored"
    told = [record for record in caplog.records if record.name == "kvcache" and record.levelname == "WARNING" and "pool" in record.message]
    assert len(told) == 2 and not any(record.exc_info for record in told), "one line a pool, not one a batch"
    answers = user.backend.batch_get_v2([PoolTransfer(PoolName.INDEXER, user.indices([0, 1]), ["a", "b"]), PoolTransfer(PoolName.MAMBA)])
    assert answers == {PoolName.INDEXER: [False, False], PoolName.MAMBA: [False]}, "a pool that is not named counts as whole"


def test_main_pool_alone_through_the_newer_calls(silo, controller):
    user = controller(silo.endpoint, filled("page_first"))
    keys = [f"{i:064x}" for i in range(3)]
    transfers = [PoolTransfer(PoolName.KV, user.indices([0, 1, 2]), keys)]
    assert user.backend.batch_exists_v2(keys).kv_hit_pages == 0
    assert user.backend.batch_set_v2(transfers) == {PoolName.KV: [True] * 3}
    assert user.backend.batch_exists_v2(keys, transfers).kv_hit_pages == 3
    assert user.backend.batch_get_v2([PoolTransfer(PoolName.KV, user.indices([5, 6, 7]), keys)]) == {PoolName.KV: [True] * 3}
    assert torch.equal(user.pool.page(5).contiguous().view(torch.int16), user.pool.page(0).contiguous().view(torch.int16))


@pytest.mark.parametrize("name", ["{}.draft", "d:{}"])
@pytest.mark.parametrize("size", ["of another size", "of the same size"])
def test_pages_of_a_draft_model_are_not_taken_for_those_of_the_model(silo, controller, caplog, name, size):
    backend = controller(silo.endpoint, filled("page_first"), interface_v1=0).backend
    page = torch.zeros(64 if size == "of another size" else backend._pool.get_dummy_flat_data_page().numel(), dtype=torch.bfloat16)
    keys = [name.format(f"{i:064x}") for i in range(4)]
    for _ in range(5):
        assert backend.batch_set(keys, [page] * 4) is False
        assert backend.batch_get(keys, [page.clone() for _ in keys]) == [None] * 4 and backend.batch_exists(keys) == 0
    assert not silo.blocks
    told = [record for record in caplog.records if record.name == "kvcache" and record.levelname != "INFO" and "arguments" not in record.message]
    assert len(told) == 1 and told[0].levelname == "WARNING" and not told[0].exc_info


def test_page_of_another_size_is_told_once(silo, controller, caplog):
    backend = controller(silo.endpoint, filled("page_first"), interface_v1=0).backend
    for _ in range(5):
        assert backend.set("0" * 64, torch.zeros(3)) is False
    assert len([record for record in caplog.records if "could not be moved" in record.message]) == 1


def test_nothing_that_an_engine_may_call_raises(silo, controller):
    backend = controller(silo.endpoint, filled("page_first")).backend
    calls = [name for name in dir(type(backend)) if not name.startswith("_") and callable(getattr(backend, name))]
    assert {"batch_exists_v2", "batch_get_v2", "batch_set_v2", "register_mem_host_pool_v2", "get_stats"} <= set(calls)
    for name in sorted(calls, key=lambda name: name == "close"):
        call = getattr(backend, name)
        required = sum(each.default is each.empty for each in inspect.signature(call).parameters.values())
        for nonsense in (object(), None, "a", ["a"], [None, "a"], [object()]):
            call(*[nonsense] * required)
    assert backend.batch_get_v2(object()) == {} and backend.batch_exists_v2([object()]).kv_hit_pages == 0


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
