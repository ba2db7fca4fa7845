"""KvCacheConnector in the contract simulation of ``harness.vllm_contract``, which is not the engine: what is stored, found and loaded.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")

from harness import vllm_contract  # noqa: E402
from harness.fake_silo import MATCH, PUT  # noqa: E402
from harness.paged import LAYOUTS  # noqa: E402
from harness.vllm_contract import GroupPlan  # noqa: E402
from harness.vllm_fixtures import PROMPT, compute, endpoint, engine, flush, silo  # noqa: E402,F401


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip_in_every_layout(endpoint, engine, layout):
    plan = GroupPlan(layout, layers=3)
    assert compute(engine(endpoint, plan, ranks=2)).loaded_tokens == 0
    # Another number of blocks: the layout of a block does not depend on how many there are.
    other = engine(endpoint, plan, ranks=2, blocks=48)
    request = other.add("second", PROMPT + [5, 6, 7])
    other.run(request)
    assert request.loaded_tokens == 40 and request.failed_blocks == 0
    assert other.wrong_tokens(request) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "int8"])
def test_types_of_elements(endpoint, engine, dtype):
    plan = GroupPlan("BHN2D-NHD", dtype=dtype)
    compute(engine(endpoint, plan))
    other = engine(endpoint, plan)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and other.wrong_tokens(request) == []


@pytest.mark.parametrize("save", ["layer", "block"])
@pytest.mark.parametrize("budget", [3, 8, 13, 1 << 20])
def test_chunked_prefill(endpoint, engine, save, budget):
    compute(engine(endpoint, budget=budget, save=save))
    other = engine(endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and other.wrong_tokens(request) == []


def test_saves_that_the_engine_defers(endpoint, engine):
    compute(engine(endpoint, defers_saves=True, budget=9))
    other = engine(endpoint, defers_saves=True)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and other.wrong_tokens(request) == []


def test_the_last_token_is_always_computed(endpoint, engine):
    compute(engine(endpoint))
    other = engine(endpoint)
    request = other.add("second", PROMPT)
    other.run(request)
    # The last engine block is left to the engine, and half of a run is loaded.
    assert request.loaded_tokens == 36 and other.wrong_tokens(request) == []


def test_common_prefix(endpoint, engine):
    compute(engine(endpoint))
    other = engine(endpoint)
    request = other.add("second", PROMPT[:21] + [9999] + PROMPT[22:])
    other.run(request)
    assert request.loaded_tokens == 16 and other.wrong_tokens(request) == []


def test_decoded_tokens_are_saved_too(endpoint, engine):
    first = engine(endpoint)
    request = first.add("first", PROMPT[:14])
    first.run(request)
    for token in PROMPT[14:26]:
        request.all_token_ids.append(token)
        first.run(request)
    first.finish(request)
    first.settle()
    flush(first)
    other = engine(endpoint)
    request = other.add("second", PROMPT)
    other.run(request)
    assert request.loaded_tokens == 24 and other.wrong_tokens(request) == []


def test_layouts_never_mix(endpoint, engine):
    compute(engine(endpoint, GroupPlan("B2NHD")))
    for plan in (GroupPlan("2BNHD"), GroupPlan("BHN2D-HND"), GroupPlan("BHN2D-NHD"), GroupPlan("B2NHD", dtype="bfloat16"),
                 GroupPlan("B2NHD", layers=3), GroupPlan("B2NHD-split"), GroupPlan("B2NHD-HND")):
        other = engine(endpoint, plan)
        request = other.add("second", PROMPT)
        other.run(request)
        assert request.loaded_tokens == 0 and other.wrong_tokens(request) == []


def test_puts_say_what_eviction_needs(silo, engine):
    first = engine(silo.endpoint, budget=16)
    compute(first, PROMPT[:16])
    compute(first, PROMPT, name="second")
    hashes = [name for put in silo.puts for name in put["hashes"]]
    assert [(put["depth"], put["new"]) for put in silo.puts] == [(0, 16), (2, 24), (4, 24)]
    assert [put["previous"] for put in silo.puts] == [bytes(32), hashes[1], hashes[3]]
    assert silo.puts[0]["request"] and silo.puts[1]["request"] == silo.puts[2]["request"] != silo.puts[0]["request"]


def test_latent_is_stored_once_for_all_ranks(silo, engine):
    compute(engine(silo.endpoint, GroupPlan("MLA"), ranks=3))
    assert len(silo.blocks) == 5
    other = engine(silo.endpoint, GroupPlan("MLA"), ranks=1)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and other.wrong_tokens(request) == []


def test_a_rank_that_lacks_a_block_shortens_the_match(silo, engine):
    compute(engine(silo.endpoint, ranks=2))
    assert len(silo.blocks) == 10
    by_space = {}
    for space, name in silo.blocks:
        by_space.setdefault(space, []).append(name)
    del silo.blocks[list(by_space)[1], list(by_space.values())[1][3]]
    other = engine(silo.endpoint, ranks=2)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 24 and request.failed_blocks == 0 and other.wrong_tokens(request) == []


@pytest.mark.parametrize("budget", [5, 8, 1 << 20])
def test_hybrid_model(endpoint, engine, budget):
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-NHD", layers=1, window=7)]
    compute(engine(endpoint, *plans, budget=budget))
    other = engine(endpoint, *plans)
    request = other.add("second", PROMPT + [1, 2])
    other.run(request)
    assert other.wrong_tokens(request) == [] and request.failed_blocks == 0
    # Runs of which parts had left the window before they were complete are not stored.
    assert request.loaded_tokens == {5: request.loaded_tokens, 8: 40, 1 << 20: 40}[budget]


def test_hybrid_model_needs_the_end_of_a_window_only(silo, engine):
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-NHD", layers=1, window=7)]
    compute(engine(silo.endpoint, *plans))
    window_space = next(iter({space for space, _ in silo.blocks if len(silo.blocks[space, _]) == 8 * 2 * 8 * 2}))
    names = [name for space, name in silo.blocks if space == window_space]
    for name in names[:3]:
        del silo.blocks[window_space, name]
    other = engine(silo.endpoint, *plans)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and request.failed_blocks == 0 and other.wrong_tokens(request) == []
    # Without its end the window lies further in front, and without that there is none.
    for name, tokens in ((names[4], 32), (names[3], 0)):
        del silo.blocks[window_space, name]
        third = engine(silo.endpoint, *plans, save="none")
        request = third.add("third", PROMPT + [2])
        third.run(request)
        assert request.loaded_tokens == tokens and third.wrong_tokens(request) == []


@pytest.mark.parametrize("budget", [3, 5, 9])
def test_blocks_that_left_a_window_are_not_stored(endpoint, engine, budget):
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-HND", layers=1, window=3)]
    compute(engine(endpoint, *plans, budget=budget))
    other = engine(endpoint, *plans, save="none")
    for length in range(9, 42):
        request = other.add(f"r{length}", (PROMPT + [1])[:length])
        other.run(request)
        assert other.wrong_tokens(request) == []
        other.finish(request)


def test_blocks_about_to_leave_a_window_are_copied_in_time(silo, engine, monkeypatch):
    from kvcache.vllm.memory import CopyStream
    run = CopyStream.run

    def slow(*arguments):
        time.sleep(0.01)  # a device that is busy
        run(*arguments)
    monkeypatch.setattr(CopyStream, "run", slow)
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-HND", layers=1, window=3)]
    compute(engine(silo.endpoint, *plans, budget=8))
    other = engine(silo.endpoint, *plans, save="none")
    for length in (16, 24, 32, 40):
        request = other.add(f"r{length}", PROMPT[:length])
        other.run(request)
        assert request.loaded_tokens == length - 4 and other.wrong_tokens(request) == []
        other.finish(request)


def test_groups_with_blocks_of_different_sizes(endpoint, engine):
    plans = [GroupPlan("B2NHD", block_size=8), GroupPlan("2BNHD", block_size=4, layers=1)]
    compute(engine(endpoint, *plans, tokens_per_block=16))
    other = engine(endpoint, *plans, tokens_per_block=16)
    request = other.add("second", PROMPT)
    other.run(request)
    assert request.loaded_tokens == 32 and other.wrong_tokens(request) == []


def test_tenants_models_salts_and_adapters_never_meet(silo, engine):
    compute(engine(silo.endpoint))
    for settings in ({"model": "other"}, {"salt": "other"}, {"revision": "2"}):
        other = engine(silo.endpoint, **settings)
        request = other.add("second", PROMPT + [1])
        other.run(request)
        assert request.loaded_tokens == 0
    same = engine(silo.endpoint)
    for index, fields in enumerate(({"cache_salt": "a"}, {"lora_request": SimpleNamespace(lora_name="a")})):
        # The engine's own hashes of these two are equal: it keeps names and salts in one list.
        assert compute(same, name=f"r{index}", **fields).loaded_tokens == 0


def test_producer_and_consumer(silo, engine):
    compute(engine(silo.endpoint, kv_role="kv_consumer"))
    assert not silo.blocks
    compute(engine(silo.endpoint, kv_role="kv_producer"))
    assert len(silo.blocks) == 5
    matches = silo.count(MATCH)
    assert compute(engine(silo.endpoint, kv_role="kv_producer"), name="again").loaded_tokens == 0
    assert silo.count(PUT) == 1 and silo.count(MATCH) > matches, "what is stored is not sent again"


def test_states_that_are_not_rows_of_blocks_are_refused(silo, engine, caplog):
    from kvcache.vllm import KvCacheConnector
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config={"endpoints": silo.endpoint}, kv_role="kv_both"),
        model_config=SimpleNamespace(model="m", revision=None), cache_config=SimpleNamespace(block_size=16),
        parallel_config=SimpleNamespace(tensor_parallel_size=1, pipeline_parallel_size=1, rank=0))
    groups = SimpleNamespace(num_blocks=8, kv_cache_groups=[
        SimpleNamespace(layer_names=["a"], kv_cache_spec=vllm_contract.MambaSpec(block_size=16))])
    connector = KvCacheConnector(config, vllm_contract.KVConnectorRole.SCHEDULER, groups)
    assert "MambaSpec, which this connector does not store" in caplog.text
    assert connector.get_num_new_matched_tokens(SimpleNamespace(num_tokens=100), 0) == (0, False)
    with pytest.raises(ValueError, match="salt"):
        config.kv_transfer_config.kv_connector_extra_config["salt"] = "s" * 257
        KvCacheConnector(config, vllm_contract.KVConnectorRole.SCHEDULER, groups)
    with pytest.raises(ValueError, match="colour"):
        config.kv_transfer_config.kv_connector_extra_config["colour"] = "red"
        KvCacheConnector(config, vllm_contract.KVConnectorRole.SCHEDULER, groups)
