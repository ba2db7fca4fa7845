"""Encoded tensors and the simple text calls, apart from what the contract says of every cache."""
import gzip
import struct
import tracemalloc
import zlib

import pytest

from harness.fake_silo import FakeSilo
from kvcache import Cache, DataType, Tensor, TextCache

#: The example of docs/serialization.md: float32 [[1, -2], [1.75, NaN]] as bfloat16.
EXAMPLE = bytes.fromhex("4B56544E 01 01 03 00 02 000000 0ACE1627 10000000 08000000 02000000 02000000 803F 00C0 E03F C07F")
FLOATS = Tensor(DataType.FLOAT32, (2, 2), struct.pack("<4f", 1, -2, 1.75, float("nan")))


def test_the_example_of_the_document_is_read_and_written():
    tensor = Tensor.decode(EXAMPLE)
    assert (tensor.data_type, tensor.shape) == (DataType.FLOAT32, (2, 2))
    assert struct.unpack("<3f", bytes(tensor.data)[:12]) == (1, -2, 1.75)
    pytest.importorskip("numpy")
    assert FLOATS.encode(DataType.BFLOAT16) == EXAMPLE


def test_every_damage_is_noticed():
    encoded = Tensor(DataType.UINT8, (3, 2), b"abcdef").encode()
    assert bytes(Tensor.decode(encoded).data) == b"abcdef"
    for at in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[at] ^= 1
        with pytest.raises(ValueError):
            Tensor.decode(damaged)
    for length in range(len(encoded)):
        with pytest.raises(ValueError):
            Tensor.decode(encoded[:length])
    with pytest.raises(ValueError):
        Tensor.decode(encoded, most=5)


def test_gzip_is_read_and_no_bomb_is_unpacked():
    tensor = Tensor(DataType.FLOAT16, (500,), bytes(1000))
    encoded = tensor.encode(gzip=True)
    assert len(encoded) < 100 and bytes(Tensor.decode(encoded).data) == bytes(1000)
    assert Tensor(DataType.UINT8, (2,), b"ab").encode(gzip=True) == Tensor(DataType.UINT8, (2,), b"ab").encode()
    bomb = gzip.compress(bytes(10_000_000))
    tracemalloc.start()
    for payload in (bomb, gzip.compress(bytes(999)), gzip.compress(bytes(1000))[:-1]):
        with pytest.raises(ValueError, match="unpack"):
            Tensor.decode(encoded_with(1, payload))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    members = gzip.compress(bytes(400)) + gzip.compress(bytes(600))
    assert bytes(Tensor.decode(encoded_with(1, members)).data) == bytes(1000)
    with pytest.raises(ValueError, match="compression 2"):
        Tensor.decode(encoded_with(2, b"zstd"))


def encoded_with(compression: int, payload: bytes) -> bytes:
    """1,000 bytes of float16 as somebody else encodes them."""
    head = b"KVTN" + bytes([1, 2, 2, compression, 1, 0, 0, 0])
    tail = struct.pack("<III", 1000, len(payload), 500) + payload
    return head + struct.pack("<I", zlib.crc32(head + tail)) + tail


def test_arrays_and_tensors_come_back_as_they_were():
    numpy = pytest.importorskip("numpy")
    with FakeSilo() as silo, Cache(silo.endpoint) as cache:
        texts = TextCache(cache, "m", tensors="numpy")
        k, v = numpy.arange(12, dtype="float32").reshape(3, 4).T, numpy.array(7, dtype="uint8")
        assert texts.cache_kv("Grüße", 3, k, v)
        found = texts.get_cached_kv("Grüße", 3)
        assert found is not None and found.k.dtype == "float32" and (found.k == k).all() and found.v.shape == () and found.v == 7
        found.k[0, 0] = 5  # of its own
        torch = pytest.importorskip("torch")
        tensors = TextCache(cache, "m")
        k, v = torch.arange(24, dtype=torch.bfloat16).reshape(2, 3, 4).transpose(0, 1), torch.zeros(0, 5)
        assert tensors.cache_kv("torch", 0, k, v)
        found = tensors.get_cached_kv("torch", 0)
        assert found is not None and torch.equal(found.k, k) and found.k.dtype == torch.bfloat16 and found.v.shape == (0, 5)
        assert (texts.get_cached_kv("torch", 0).k == k.float().numpy()).all(), "numpy has no bfloat16"


def test_wrong_arguments_are_told_with_their_name():
    numpy = pytest.importorskip("numpy")
    right = numpy.zeros(3, "float32")
    with Cache() as cache:
        texts = TextCache(cache, "m", tensors="numpy")
        for call, message in ((lambda: texts.cache_kv("a", 0, [1, 2], right), "k: a tensor of torch, an array of numpy"),
                              (lambda: texts.cache_kv("a", 0, right, numpy.zeros(3)), "v: dtype: one of float32, float16, bfloat16,"),
                              (lambda: texts.cache_kv("a", 0, numpy.zeros((1,) * 9, "uint8"), right), "k: shape: at most 8 dimensions"),
                              (lambda: texts.cache_kv(7, 0, right, right), "prefix: a text was expected"),
                              (lambda: texts.get_cached_kv("a", -1), "layer: a whole number from 0 on"),
                              (lambda: TextCache(cache, "m", tensors="tensorflow"), "tensors: one of torch, numpy, bytes"),
                              (lambda: TextCache(cache, "m" * 257), "model: a text of 0 to 256 bytes")):
            with pytest.raises(ValueError, match=message):
                call()
        assert cache.statistics.failed_calls == 0


def test_a_payload_that_is_not_one_and_a_silo_that_is_away_are_misses():
    with FakeSilo() as silo, Cache(silo.endpoint) as cache:
        texts = TextCache(cache, "m", tensors="bytes")
        assert texts.cache_kv("a", 0, FLOATS, FLOATS)
        ((key, payload),) = [(key, block) for key, block in silo.blocks.items() if len(block) > 4]
        silo.blocks[key] = b"\xff" * len(payload)
        assert texts.get_cached_kv("a", 0) is None
        del silo.blocks[key]
        assert texts.get_cached_kv("a", 0) is None
        # A size whose payload is gone makes place for another one's.
        large = Tensor(DataType.UINT8, (5000,), bytes(5000))
        assert texts.cache_kv("a", 0, large, large) and texts.get_cached_kv("a", 0).k.shape == (5000,)
        silo.full = True
        assert not texts.cache_kv("b", 0, FLOATS, FLOATS)
        assert cache.statistics.failed_calls == 0
    with Cache(silo.endpoint) as cache:
        texts = TextCache(cache, "m", tensors="bytes")
        assert texts.get_cached_kv("a", 0) is None and not texts.cache_kv("a", 0, FLOATS, FLOATS)
