"""Fixtures of every test that needs a silo: a fake one, and a real one where there is one."""
import os

import pytest

from .fake_silo import FakeSilo

ENDPOINT = os.environ.get("KVCACHE_ENDPOINT", "")


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
