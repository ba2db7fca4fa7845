"""KvCacheTier in the contract simulation of ``harness.tier_contract``, which is not the engine.

The cache is the silo of this process, or a real one where KVCACHE_ENDPOINT names it.
"""
import os
import threading
from types import SimpleNamespace

import pytest

numpy = pytest.importorskip("numpy", reason="python3-numpy is not installed: no rows to test with")

from harness import tier_contract  # noqa: E402
from harness.fake_silo import GET, HINT, MATCH, PUT  # noqa: E402
from harness.silo_fixtures import endpoint, silo  # noqa: E402,F401
from harness.silos import eventually  # noqa: E402
from harness.tier_contract import JobMetadata, LookupResult, Primary, TransferJob, spec  # noqa: E402

tier_contract.install()
KEYS = [bytes([i]) * 32 + (i % 2).to_bytes(4, "big") for i in range(8)]
CONTENTS = {key: bytes([i + 1]) * 200 for i, key in enumerate(KEYS)}
ONE, TWO = SimpleNamespace(req_id="one"), SimpleNamespace(req_id="two")


@pytest.fixture
def primary():
    from kvcache.vllm import KvCacheTier
    salt, tiers = os.urandom(8).hex(), []

    def make(endpoint, job_type=TransferJob, rows=16, offloading_spec=None, **settings):
        engine = Primary(rows=rows, job_type=job_type)
        engine.tier = KvCacheTier(offloading_spec=offloading_spec or spec(), primary_kv_view=engine.view, tier_type="KvCacheTier",
                                  **{"endpoints": endpoint, "salt": salt, "match_timeout": 10, **settings})
        tiers.append(engine)
        return engine
    yield make
    for engine in tiers:
        engine.tier.shutdown()
        engine.view.release()  # as the engine does; fails while the tier still looks at its rows


@pytest.mark.parametrize("job_type", [TransferJob, JobMetadata])
def test_round_trip(endpoint, primary, job_type):
    first = primary(endpoint, job_type)
    first.store(CONTENTS, ONE)
    first.settle()
    assert [result.success for result in first.results] == [True]
    other = primary(endpoint, job_type)
    assert other.prefix(KEYS, TWO) == 8
    assert all(other.memory[other.held[key]].tobytes() == CONTENTS[key] for key in KEYS)


def test_rows_that_were_evicted_come_back(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    engine.evict(KEYS[:5])
    assert engine.prefix(KEYS, TWO) == 8
    assert all(engine.memory[engine.held[key]].tobytes() == CONTENTS[key] for key in KEYS)


def test_a_step_asks_once(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    matches = silo.count(MATCH)
    other = primary(silo.endpoint)
    other.prefix(KEYS, TWO)
    # The answers may come while a step is asking: then the next one takes the rest.
    assert silo.count(MATCH) <= matches + 2 and silo.count(GET) <= 2


def test_gaps(silo, primary):
    engine = primary(silo.endpoint)
    engine.store({key: CONTENTS[key] for key in KEYS[:2] + KEYS[4:]}, ONE)
    engine.settle()
    other = primary(silo.endpoint)
    assert other.prefix(KEYS, TWO) == 2
    assert other.prefix(KEYS[4:], ONE) == 4


def test_engine_that_does_not_say_when_a_step_ends(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    other = primary(silo.endpoint)
    for _ in range(10_000_000):
        if other.tier.lookup(KEYS[0], TWO) == LookupResult.HIT:
            break
    else:
        raise AssertionError("never answered")


def test_look_up_never_waits(silo, primary):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None
    engine = primary(silo.endpoint, match_timeout=0.2)
    assert engine.tier.lookup(KEYS[0], ONE) == LookupResult.RETRY
    assert engine.prefix(KEYS, ONE) == 0
    hang.set()


def test_promotion_that_fails_names_what_succeeded_and_is_not_tried_again(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    keys = list(silo.blocks)
    silo.before = lambda kind: silo.blocks.pop(keys[3], None) and None if kind == GET else None
    other = primary(silo.endpoint, lookup_life=60)
    assert other.prefix(KEYS, TWO) == 3
    failed = [(job, result) for job, result in other.ended if not result.success]
    assert len(failed) == 1
    assert set(failed[0][1].successful_keys) == set(failed[0][0].keys) - {KEYS[3]}
    assert all(other.memory[other.held[key]].tobytes() == CONTENTS[key] for key in other.held)


def test_drain_waits_until_nobody_touches_the_rows(silo, primary):
    hang = threading.Event()
    engine = primary(silo.endpoint)
    silo.before = lambda kind: hang.wait(20) and None if kind == PUT else None
    engine.store(CONTENTS, ONE)
    assert engine.tier.has_pending_work() and not list(engine.tier.get_finished_jobs())
    drained = threading.Thread(target=engine.tier.drain_jobs)
    drained.start()
    hang.set()
    drained.join(20)
    assert not drained.is_alive()
    engine.process()
    assert not engine.jobs and not engine.tier.has_pending_work()


def test_no_cluster(primary):
    engine = primary("tcp:127.0.0.1:1")
    engine.store(CONTENTS, ONE)
    engine.settle()
    assert [result.success for result in engine.results] == [False]
    engine.evict(KEYS)
    assert engine.prefix(KEYS, TWO) == 0


def test_more_jobs_than_fit_fail_at_once(silo, primary):
    hang = threading.Event()
    silo.before = lambda kind: hang.wait(20) and None if kind == PUT else None
    engine = primary(silo.endpoint, rows=64, queue=2, store_threads=1)
    for i in range(8):
        engine.store({bytes([i, 99]) * 16 + bytes(4): bytes(200)}, ONE)
    engine.process()
    assert len(engine.results) >= 5 and not any(result.success for result in engine.results)
    hang.set()
    engine.settle()
    assert len(engine.results) == 8


def test_models_ranks_salts_and_tenants_never_meet(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    for settings in ({"salt": "x"}, {"revision": "x"}, {"model": "x"}, {"tenant": "x"}, {"offloading_spec": spec(tp_size=2)},
                     {"offloading_spec": spec(model="x")}):
        assert primary(silo.endpoint, **settings).prefix(KEYS, TWO) == 0


def test_what_a_request_asked_for_is_forgotten_with_it(silo, primary):
    engine = primary(silo.endpoint)
    for name in ("a", "b", "c"):
        engine.prefix(KEYS, SimpleNamespace(req_id=name))
    assert not engine.tier._lookups._known and not engine.tier._lookups._requests


def test_hints_of_a_request_are_passed_on_when_it_ends(silo, primary):
    engine = primary(silo.endpoint)
    engine.store(CONTENTS, ONE)
    engine.settle()
    hints = SimpleNamespace(actions=[SimpleNamespace(action_type="kv.retain", payload={
        "directives": [{"start": 0, "end": 64, "priority": 70, "duration": 30}]})])
    request = SimpleNamespace(req_id="hinted", kv_hints=hints)
    other = primary(silo.endpoint)
    assert other.prefix(KEYS, request) == 8
    eventually("the hint is there", lambda: silo.hints == [(HINT, 0, 70, 0, 30_000)])
    other.tier.on_request_finished(TWO)
    assert len(silo.hints) == 1


def test_wrong_settings_are_an_error(silo, primary):
    with pytest.raises(ValueError, match="colour"):
        primary(silo.endpoint, colour="red")
    with pytest.raises(ValueError, match="name it"):
        primary(silo.endpoint, offloading_spec=SimpleNamespace())
