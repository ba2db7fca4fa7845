"""Hashes of the engines, against vectors that the engines computed."""
import math

import pytest

from kvcache.engine_hashes import (cbor, sglang_chain, sglang_page_key, vllm_block_hash, vllm_chain, vllm_none_hash)


def test_vllm_vectors():
    none = vllm_none_hash("0")
    assert none.hex() == "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e"
    first = vllm_block_hash(none, range(16))
    assert first.hex() == "d830de3d42c00f25a2949b5d12d98642664a44872c1614c5b0147556276afc9c"
    second = vllm_block_hash(first, range(16, 32))
    assert second.hex() == "fedd9e4abebebbe6f6cf96b682f08d316063fe2f22a5c552192dd62904fcccac"
    assert vllm_block_hash(none, range(16), ("tenantA",)).hex() == \
        "323f9fbc8926c7b8e0b3235d28d959376fac2148fd2466c4748332152cccbb42"
    assert vllm_chain(range(40), 16, "0") == [first, second]
    assert vllm_chain(range(16), 16, "0", [("tenantA",)]) == [vllm_block_hash(none, range(16), ("tenantA",))]


def test_sglang_vector():
    key = sglang_page_key(range(16))
    assert key == "5d85718ec594b982c252d0279e5966ffca33a5eaf2a455038d3ab331fde70cea"
    assert sglang_chain(range(40), 16) == [key, sglang_page_key(range(16, 32), key)]


# RFC 8949, appendix A.
@pytest.mark.parametrize("value, encoding", [
    (0, "00"), (23, "17"), (24, "1818"), (100, "1864"), (1000, "1903e8"), (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"), (18446744073709551615, "1bffffffffffffffff"), (-1, "20"), (-100, "3863"),
    (-1000, "3903e7"), (0.0, "f90000"), (1.5, "f93e00"), (65504.0, "f97bff"), (100000.0, "fa47c35000"),
    (1.1, "fb3ff199999999999a"), (3.4028234663852886e+38, "fa7f7fffff"), (1.0e+300, "fb7e37e43c8800759c"),
    (5.960464477539063e-08, "f90001"), (math.inf, "f97c00"), (math.nan, "f97e00"), (False, "f4"), (True, "f5"),
    (None, "f6"), (b"\x01\x02\x03\x04", "4401020304"), ("", "60"), ("IETF", "6449455446"), ("ü", "62c3bc"), ([], "80"),
    ((1, (2, 3), [4, 5]), "8301820203820405")])
def test_cbor(value, encoding):
    assert cbor(value).hex() == encoding


def test_cbor_refuses_what_a_hash_does_not_have():
    for value in ({}, object(), 1 << 64):
        with pytest.raises((TypeError, ValueError)):
            cbor(value)
