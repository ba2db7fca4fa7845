"""KvCacheConnector in the contract simulation of ``harness.vllm_contract``, which is not the engine: failures, preemption, little memory.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import random
import sys
import threading
import time

import pytest

torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")

from harness import vllm_contract  # noqa: E402
from harness.fake_silo import GET, PUT  # noqa: E402
from harness.vllm_contract import GroupPlan  # noqa: E402
from harness.vllm_fixtures import PROMPT, compute, endpoint, engine, flush, silo  # noqa: E402,F401


def test_failed_load_of_a_hybrid_model_begins_anew(silo, engine):
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-NHD", layers=1, window=7)]
    compute(engine(silo.endpoint, *plans))
    # Of the group that needs all of them: it has two layers, the other one.
    names = [key for key, block in silo.blocks.items() if len(block) == max(map(len, silo.blocks.values()))]
    silo.before = lambda kind: silo.blocks.pop(names[3], None) and None if kind == GET else None
    other = engine(silo.endpoint, *plans, save="none")
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.failed_blocks and other.wrong_tokens(request) == []
    assert request.loaded_tokens == 0, "it is not loaded again: it would fail again"


def test_hybrid_model_in_an_engine_that_would_end_with_a_failed_load(silo, engine, caplog, monkeypatch):
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-NHD", layers=1, window=7)]
    monkeypatch.setattr(sys.modules["vllm.v1.core.sched.scheduler"], "Scheduler", vllm_contract.SchedulerOfOneGroup)
    compute(engine(silo.endpoint, *plans))
    for hybrid_loads, tokens in (("auto", 0), ("off", 0), ("on", 40)):
        other = engine(silo.endpoint, *plans, hybrid_loads=hybrid_loads)
        request = other.add("second", PROMPT + [1])
        other.run(request)
        assert request.loaded_tokens == tokens
    assert "does not survive a load of theirs that fails" in caplog.text
    # With one group it does.
    compute(engine(silo.endpoint))
    other = engine(silo.endpoint)
    request = other.add("second", PROMPT + [1])
    other.run(request)
    assert request.loaded_tokens == 40


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


def test_cluster_that_hangs_keeps_no_blocks_and_no_steps(silo, engine):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(60) and None if kind == PUT else None
    plans = [GroupPlan("B2NHD"), GroupPlan("BHN2D-HND", layers=1, window=5)]
    first = engine(silo.endpoint, *plans, budget=8, staging_bytes=2500, staging_wait=1, blocks=256)
    began = time.monotonic()
    for index in range(4):
        request = first.add(f"r{index}", [1000 * index + t for t in range(60)])
        first.run(request)
        first.finish(request)
    # Thirty-two steps; one after the other waiting would take half a minute.
    assert time.monotonic() - began < 15
    first.settle(steps=1_000_000)
    assert time.monotonic() - began < 20, "what waits is dropped together, not one after the other"
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
    assert request.failed_blocks == 10 and request.loaded_tokens == 0, "nothing was valid, so it began anew"
    assert other.wrong_tokens(request) == []


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


@pytest.mark.parametrize("seed", range(8))
def test_anything_in_any_order(silo, engine, seed):
    """Two engines with prompts that share prefixes, preemption, little memory, blocks that vanish, connections that break:
    whatever happens, KV that an engine computes upon is that of its tokens."""
    chance = random.Random(seed)
    plans = chance.choice([[GroupPlan("B2NHD")], [GroupPlan("MLA", layers=1)], [GroupPlan("2BNHD", layers=1)],
                           [GroupPlan("BHN2D-NHD"), GroupPlan("B2NHD", layers=1, window=chance.choice([3, 6, 9]))]])
    ranks, shared = chance.choice([1, 1, 2]), [chance.randrange(1000) for _ in range(48)]

    def before(kind):
        if kind == GET and chance.random() < 0.1:
            for key in list(silo.blocks)[3:4]:
                silo.blocks.pop(key, None)
        return b"" if chance.random() < 0.02 else None
    silo.before = before
    engines = [engine(silo.endpoint, *plans, ranks=ranks, blocks=160, budget=chance.choice([3, 7, 16, 1000]),
                      staging_bytes=chance.choice([1, 3000, 1 << 20]), staging_wait=0.2, breaker_failures=1 << 30,
                      save=chance.choice(["block", "layer"]), defers_saves=chance.random() < 0.3) for _ in range(2)]
    for step in range(120):
        each = chance.choice(engines)
        if chance.random() < 0.25 and len(each.requests) < 3:
            tail = [chance.randrange(1000) for _ in range(chance.randrange(10))]
            each.add(f"r{step}", shared[:chance.randrange(1, 48)] + tail)
        each.step()
        for request in [request for request in each.requests.values() if request.status == "running"]:
            assert each.wrong_tokens(request) == []
            if chance.random() < 0.03:
                each.preempt(request)
            elif request.num_computed_tokens >= request.num_tokens:
                if chance.random() < 0.5:
                    request.all_token_ids.append(chance.randrange(1000))
                else:
                    each.finish(request)
    for each in engines:
        for request in list(each.requests.values()):
            each.run(request, steps=100_000)
            assert each.wrong_tokens(request) == []
            each.finish(request)
        each.settle(steps=1_000_000)
