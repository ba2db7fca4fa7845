"""Fixtures of the tests of KvCacheConnector: a cache, engines of the contract simulation, and a request from its first token to
its last save."""
import os
import threading
import time

import pytest

from .silo_fixtures import endpoint, silo  # noqa: F401
from .vllm_contract import Engine, GroupPlan, install

install()
PROMPT = [100 + 7 * i % 1000 for i in range(40)]


@pytest.fixture
def engine():
    engines = []

    def make(endpoint, *groups, **options):
        names = ("ranks", "blocks", "budget", "kv_role", "defers_saves", "model", "config")
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
        for pool in (*saver._copiers.values(), saver._senders):
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
