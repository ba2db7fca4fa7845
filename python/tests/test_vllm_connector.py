"""KvCacheConnector in the contract simulation of ``harness.vllm_contract``, which is not the engine.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import os
import threading
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")

from harness import vllm_contract  # noqa: E402
from harness.fake_silo import GET, MATCH, PUT, FakeSilo  # noqa: E402
from harness.paged import LAYOUTS  # noqa: E402
from harness.vllm_contract import Engine, GroupPlan  # noqa: E402

vllm_contract.install()
ENDPOINT = os.environ.get("KVCACHE_ENDPOINT", "")
PROMPT = [100 + 7 * i % 1000 for i in range(40)]


@pytest.fixture(params=["fake", "real"])
def endpoint(request):
    if request.param == "real":
        if not ENDPOINT:
            pytest.skip("KVCACHE_ENDPOINT is not set: no silo to test against")
        yield ENDPOINT
    else:
        with FakeSilo() as silo:
            yield silo.endpoint


@pytest.fixture
def silo():
    with FakeSilo() as silo:
        yield silo


@pytest.fixture
def engine():
    engines = []

    def make(endpoint, *groups, **options):
        names = ("ranks", "blocks", "budget", "kv_role", "defers_saves")
        settings = {"endpoints": endpoint, "tokens_per_block": 8, "match_timeout": 10, "load_timeout": 10, "store_timeout": 10,
                    "salt": make.salt, **{k: v for k, v in options.items() if k not in names}}
        engines.append(Engine(settings, groups or [GroupPlan("B2NHD")], **{k: v for k, v in options.items() if k in names}))
        return engines[-1]
    make.salt = os.urandom(8).hex()
    yield make
    for each in engines:
        each.close()


def compute(engine, tokens=PROMPT, name="first", **fields):
    """Runs a request to its end, and waits for its saves."""
    request = engine.add(name, tokens, **fields)
    engine.run(request)
    assert engine.wrong_tokens(request) == []
    engine.finish(request)
    engine.settle()
    flush(engine)
    return request


def flush(engine):
    """Waits until everything that was saved is sent."""
    for worker in engine.workers:
        saver = worker._worker._saver
        for pool in (saver._copier, saver._senders):
            done = threading.Event()
            while not pool.submit(done.set):
                time.sleep(0.001)
            assert done.wait(20)
            # One sender may still be busy when another takes the last task.
    deadline = time.monotonic() + 20
    for worker in engine.workers:
        staging = worker._worker._saver._staging
        while sum(len(free) * size for size, free in staging._free.items()) != staging._used:
            assert time.monotonic() < deadline
            time.sleep(0.001)


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
                 GroupPlan("B2NHD", layers=3), GroupPlan("B2NHD-split")):
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


def test_preemption(endpoint, engine):
    first = engine(endpoint, budget=10)
    request = first.add("first", PROMPT)
    for _ in range(30):
        first.step()
        if request.num_computed_tokens >= 20:
            break
    first.preempt(request)
    first.step()
    first.run(request)
    assert first.wrong_tokens(request) == []
    first.finish(request)
    first.settle()
    flush(first)
    other = engine(endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and request.failed_blocks == 0 and other.wrong_tokens(request) == []


def test_preemption_while_a_save_has_no_memory_yet(silo, engine):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None if kind == PUT else None
    first = engine(silo.endpoint, staging_bytes=1, budget=16)
    request = first.add("first", PROMPT[:33])
    first.run(request)
    first.preempt(request)
    first.step()  # the freed blocks are overwritten here
    hang.set()
    first.run(request)
    first.finish(request)
    first.settle()
    flush(first)
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT)
    other.run(request)
    assert request.failed_blocks == 0 and other.wrong_tokens(request) == []


def test_blocks_of_a_finished_request_wait_for_its_saves(silo, engine):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None if kind == PUT else None
    first = engine(silo.endpoint, staging_bytes=1, staging_wait=20)
    request = first.add("first", PROMPT)
    first.run(request)
    first.finish(request)
    for _ in range(20):
        first.step()
    assert list(first.waits_for_free) == ["first"], "most blocks have no memory to be copied to yet"
    hang.set()
    first.settle()
    flush(first)
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40 and other.wrong_tokens(request) == []


def test_save_that_finds_no_memory_is_dropped(silo, engine):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None if kind == PUT else None
    first = engine(silo.endpoint, staging_bytes=1, staging_wait=0.05)
    request = first.add("first", PROMPT)
    first.run(request)
    first.finish(request)
    first.settle(steps=1_000_000)
    assert not hang.is_set() and first.workers[0]._worker._saver.dropped_blocks == 4
    hang.set()


def test_many_requests_at_once_with_little_memory(endpoint, engine):
    first = engine(endpoint, blocks=128, budget=11, staging_bytes=2000, ranks=2)
    prompts = [[1000 * i + t for t in range(30 + i)] for i in range(8)]
    requests = [first.add(f"r{i}", prompt) for i, prompt in enumerate(prompts)]
    for request in requests:
        first.run(request)
        assert first.wrong_tokens(request) == []
        first.finish(request)
    first.settle()
    flush(first)
    other = engine(endpoint, blocks=128, ranks=2, staging_bytes=2000)
    requests = [other.add(f"s{i}", prompt + [1]) for i, prompt in enumerate(prompts)]
    for request in requests:
        other.run(request)
        assert other.wrong_tokens(request) == []
    assert sum(request.loaded_tokens for request in requests) == sum(len(prompt) // 8 * 8 for prompt in prompts)


def test_blocks_that_vanish_between_match_and_load_are_reported(silo, engine):
    compute(engine(silo.endpoint))
    names = [key for key in silo.blocks]

    def before(kind):
        if kind == GET:
            silo.blocks.pop(names[2], None)
            silo.blocks.pop(names[4], None)
    silo.before = before
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    # Just the engine blocks of the two runs.
    assert request.loaded_tokens == 40 and request.failed_blocks == 4
    assert other.wrong_tokens(request) == []


def test_silo_that_goes_away_in_mid_load(silo, engine):
    compute(engine(silo.endpoint))
    silo.break_after = 2
    silo.before = lambda kind: b"" if kind == GET and silo.count(GET) > 1 else None
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.failed_blocks == 6, "three of five runs, of two engine blocks each"
    assert other.wrong_tokens(request) == []


def test_damaged_block_is_recomputed(silo, engine):
    compute(engine(silo.endpoint))
    silo.damages = 1
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.failed_blocks == 2 and other.wrong_tokens(request) == []


def test_load_that_takes_too_long(silo, engine):
    compute(engine(silo.endpoint))
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None if kind == GET else None
    other = engine(silo.endpoint, load_timeout=0.3)
    request = other.add("second", PROMPT + [1])
    other.run(request, steps=1_000_000)
    hang.set()
    assert request.loaded_tokens == 40 and request.failed_blocks == 10 and other.wrong_tokens(request) == []


def test_no_cluster(engine):
    first = engine("tcp:127.0.0.1:1")
    for index in range(5):
        request = compute(first, name=f"r{index}")
        assert request.loaded_tokens == 0


def test_cluster_that_hangs_does_not_hold_the_scheduler(silo, engine):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None
    first = engine(silo.endpoint, match_timeout=0.2)
    request = first.add("first", PROMPT)
    longest = 0.0
    while request.status == "waiting":
        began = time.monotonic()
        first.scheduler.get_num_new_matched_tokens(request, 0)
        longest = max(longest, time.monotonic() - began)
        first.step()
    assert longest < 0.15
    first.run(request)
    hang.set()
    assert first.wrong_tokens(request) == []


def test_hold_ends_with_the_load(silo, engine):
    compute(engine(silo.endpoint))
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    deadline = time.monotonic() + 20
    while not silo.released:
        assert time.monotonic() < deadline
        time.sleep(0.001)


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
    with pytest.raises(ValueError, match="colour"):
        config.kv_transfer_config.kv_connector_extra_config["colour"] = "red"
        KvCacheConnector(config, vllm_contract.KVConnectorRole.SCHEDULER, groups)
