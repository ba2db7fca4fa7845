"""Paths of the tests (the package is tested where it lies, without being installed), and the silo that they share.

Where KVCACHE_SILO_DLL names the silo's program and KVCACHE_ENDPOINT no silo that runs, one is started for the session.
"""
import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

_shared = []


def pytest_configure(config):
    if os.environ.get("KVCACHE_ENDPOINT") or not os.environ.get("KVCACHE_SILO_DLL") or config.option.collectonly:
        return
    from harness.silos import SiloProcess
    silo = SiloProcess(unix=True)
    _shared.append(silo)
    os.environ["KVCACHE_ENDPOINT"], os.environ["KVCACHE_UNIX"] = silo.endpoint, silo.unix


def pytest_unconfigure():
    for silo in _shared:
        silo.__exit__()
        del os.environ["KVCACHE_ENDPOINT"], os.environ["KVCACHE_UNIX"]
    _shared.clear()


@pytest.fixture(scope="session", autouse=True)
def the_shared_silo_stays_healthy():
    yield
    for silo in _shared:
        silo.assert_healthy()
