"""What processes do to each other: silos and engines that are killed, restarted silos, a cluster, tenants."""
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.silos import DLL, SiloProcess, eventually, needs_silo_program
from kvcache import Cache, CacheOptions, Namespace, OpaqueLayout, Outcome, prefix_chain

pytestmark = needs_silo_program
BLOCK = 1 << 20
SPACE = Namespace("m", OpaqueLayout(16, (BLOCK // 2, BLOCK)), tenant="default")
HASHES = prefix_chain(range(24 * 16), 16)
BLOCKS = [os.urandom(64) * (BLOCK // 64) for _ in HASHES]
PATIENT = dict(match_timeout=20, load_timeout=20, store_timeout=20, breaker_delay=0.05, locate_bytes=1)


def cache_of(*silos, **options) -> Cache:
    return Cache([silo.endpoint for silo in silos], options=CacheOptions(**{**PATIENT, **options}))


def buffers(count: int = len(HASHES)):
    return [bytearray(BLOCK) for _ in range(count)]


@pytest.fixture
def silo():
    with SiloProcess() as silo:
        yield silo


def test_restarted_silo_is_used_again_without_an_error(silo):
    with cache_of(silo) as cache:
        assert cache.put(SPACE, HASHES, BLOCKS) == [Outcome.STORED] * 24
        assert cache.get(SPACE, HASHES, buffers()) == [True] * 24
        silo.kill()
        assert cache.get(SPACE, HASHES, buffers()) == [False] * 24
        assert cache.match(SPACE, HASHES).count == 0
        silo.start()
        eventually("the breaker lets a call through", lambda: cache.put(SPACE, HASHES, BLOCKS) == [Outcome.STORED] * 24)
        targets = buffers()
        assert cache.get(SPACE, HASHES, targets) == [True] * 24 and targets == BLOCKS


def test_silo_killed_in_mid_read_leaves_whole_blocks_and_misses(silo):
    with cache_of(silo) as cache:
        cache.put(SPACE, HASHES, BLOCKS)
        targets = buffers()

        def arrived(index: int) -> None:
            if index == 5:
                silo.kill()
        hits = cache.get(SPACE, HASHES, targets, arrived=arrived)
        # What was on its way still arrives; the rest is missing, and nothing is half there.
        assert all(hits[:6]) and not all(hits)
        assert all(target == block for hit, target, block in zip(hits, targets, BLOCKS) if hit)


def test_tenants_never_meet():
    secrets = {"one": "secret of tenant one", "two": "secret of tenant two"}
    with SiloProcess(tenants=secrets) as silo:
        caches = {name: cache_of(silo, tenant=name, secret=secret.encode()) for name, secret in secrets.items()}
        spaces = {name: Namespace("m", SPACE.layout, tenant=name) for name in secrets}
        assert caches["one"].put(spaces["one"], HASHES[:4], BLOCKS[:4]) == [Outcome.STORED] * 4
        assert caches["two"].match(spaces["two"], HASHES).count == 0
        assert caches["two"].get(spaces["two"], HASHES[:4], buffers(4)) == [False] * 4
        # Neither with the other's name, nor with its name and the wrong secret.
        assert caches["two"].match(spaces["one"], HASHES).count == 0
        assert "tenant" in caches["two"].statistics.last_failure
        with cache_of(silo, tenant="one", secret=b"secret of tenant two") as thief:
            assert thief.match(spaces["one"], HASHES).count == 0
        assert caches["one"].match(spaces["one"], HASHES).count == 4
        for cache in caches.values():
            cache.close()


def test_engines_of_two_tenants_with_equal_prompts():
    pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")
    from harness import vllm_contract
    from harness.vllm_contract import Engine, GroupPlan
    vllm_contract.install()
    secrets = {"one": "secret of tenant one", "two": "secret of tenant two"}
    prompt = list(range(40))
    with SiloProcess(tenants=secrets) as silo:
        hits = {}
        for name in ("one", "two", "one", "two"):
            engine = Engine({"endpoints": silo.endpoint, "tenant": name, "secret": secrets[name], "tokens_per_block": 8,
                             "match_timeout": 20}, [GroupPlan("B2NHD")])
            request = engine.add("request", prompt + [1])
            engine.run(request)
            assert engine.wrong_tokens(request) == []
            engine.finish(request)
            engine.settle()
            hits.setdefault(name, []).append(request.loaded_tokens)
            engine.close()
        assert hits == {"one": [0, 40], "two": [0, 40]}


def test_engine_killed_in_mid_save_leaves_whole_blocks_only(silo):
    torch = pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")
    from engine_process import PLAN, TOKENS
    from harness import vllm_contract
    from harness.vllm_contract import Engine
    vllm_contract.install()
    assert torch is not None
    program = Path(__file__).with_name("engine_process.py")
    process = subprocess.Popen([sys.executable, str(program), silo.endpoint, "salt"], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert process.stdout.readline().strip() == str(process.pid).encode()
        with cache_of(silo) as cache:
            eventually("some blocks are stored", lambda: cache.stat()["blocks"] >= 5)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            assert cache.stat()["blocks"] < 200, "it was to be killed before it had saved everything"
    finally:
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()
    engine = Engine({"endpoints": silo.endpoint, "tokens_per_block": 8, "salt": "salt", "match_timeout": 20}, [PLAN], blocks=410)
    request = engine.add("request", TOKENS)
    engine.run(request)
    assert request.loaded_tokens > 0 and request.failed_blocks == 0 and engine.wrong_tokens(request) == []
    engine.close()


def test_silo_killed_in_mid_load_costs_the_engine_the_missing_blocks(silo, monkeypatch):
    pytest.importorskip("torch", reason="python3-torch is not installed: no tensors to test with")
    from harness import vllm_contract
    from harness.vllm_contract import Engine, GroupPlan
    vllm_contract.install()
    from kvcache.vllm.memory import GroupMemory
    # Large enough that the kernel cannot have all of it on its way when the silo dies: 256 tokens of 64 KiB.
    monkeypatch.setattr("harness.paged.HEADS", 64)
    monkeypatch.setattr("harness.paged.DIM", 256)
    prompt = list(range(256))
    settings = {"endpoints": silo.endpoint, "tokens_per_block": 8, "match_timeout": 20, "load_timeout": 20}
    first = Engine(settings, [GroupPlan("B2NHD", layers=1)], blocks=80)
    request = first.add("request", prompt)
    first.run(request)
    first.finish(request)
    first.settle()
    with cache_of(silo) as cache:
        eventually("everything is stored", lambda: cache.stat()["blocks"] == 32)
    first.close()

    other = Engine(settings, [GroupPlan("B2NHD", layers=1)], blocks=90)
    scatter, scattered = GroupMemory.scatter, []

    def kill_after_some(self, *arguments) -> None:
        scattered.append(1)
        if len(scattered) == 3:
            silo.kill()
        scatter(self, *arguments)
    monkeypatch.setattr(GroupMemory, "scatter", kill_after_some)
    request = other.add("request", prompt + [1])
    other.run(request, steps=1_000_000)
    assert request.loaded_tokens == 256
    assert request.failed_blocks == 64 - 2 * len(scattered), "each block that arrived is two of the engine's; no other is lost"
    assert 0 < request.failed_blocks < 64
    assert other.wrong_tokens(request) == [], "and the engine went on"
    other.close()


@pytest.fixture(scope="module")
def cluster():
    if not DLL:
        pytest.skip("KVCACHE_SILO_DLL is not set: no silo processes to start")
    with SiloProcess(arena="128MiB", is_first=True) as first, SiloProcess(arena="128MiB", cluster=first) as second:
        yield first, second


def located(cache, space, hashes, silos: int):
    """Where a chain is, once the index of the silo that answers knows of ``silos`` holders."""
    def ask():
        location = cache.locate(space, hashes)
        return location if location and len(location.holders) == len(hashes) and len(location.silos) >= silos else None
    return eventually(f"{len(hashes)} blocks are known to be on {silos} silos", ask)


def test_blocks_of_a_cluster_are_read_from_where_they_are(cluster):
    space = Namespace("spread", SPACE.layout)
    with cache_of(cluster[0]) as here, cache_of(cluster[1]) as there:
        assert here.put(space, HASHES[:8], BLOCKS[:8]) == [Outcome.STORED] * 8
        assert there.put(space, HASHES[8:], BLOCKS[8:], previous=HASHES[7], depth=8) == [Outcome.STORED] * 16
        location = located(here, space, HASHES, 2)
        mine = next(1 << i for i, silo in enumerate(location.silos) if silo.answers)
        assert [bool(mask & mine) for mask in location.holders] == [True] * 8 + [False] * 16
        targets = buffers()
        assert here.get(space, HASHES, targets) == [True] * 24 and targets == BLOCKS
        assert list(here._others) == [cluster[1].endpoint], "the other silo's blocks came from itself"
        assert here.match(space, HASHES).count == 24


def test_copies(cluster):
    space = Namespace("copies", SPACE.layout)
    with cache_of(cluster[0]) as cache:
        assert cache.put(space, HASHES[:4], BLOCKS[:4], copies=2) == [Outcome.STORED] * 4
        location = located(cache, space, HASHES[:4], 2)
        eventually("every block is on both silos", lambda: all(
            bin(mask).count("1") == 2 for mask in cache.locate(space, HASHES[:4]).holders))
        assert len(location.silos) == 2


def test_silo_of_a_cluster_killed_in_mid_read():
    with SiloProcess(arena="128MiB", is_first=True) as first, SiloProcess(arena="128MiB", cluster=first) as second:
        space, killed = Namespace("killed", SPACE.layout), threading.Event()
        with cache_of(first) as here, cache_of(second) as there:
            here.put(space, HASHES[:8], BLOCKS[:8])
            there.put(space, HASHES[8:], BLOCKS[8:], previous=HASHES[7], depth=8)
            located(here, space, HASHES, 2)
            targets = buffers()

            def arrived(index: int) -> None:
                if index >= 9 and not killed.is_set():
                    killed.set()
                    second.kill()
            hits = here.get(space, HASHES, targets, past_misses=True, arrived=arrived)
            assert all(hits[:8]) and not all(hits) and killed.is_set()
            assert all(target == block for hit, target, block in zip(hits, targets, BLOCKS) if hit)
