"""Tensors as bytes that say what they are (docs/serialization.md), and the arrays of numpy and torch."""
from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import Any, Optional, Tuple

from ._engines import engine_module
from .buffers import Buffer, view_of
from .hashing import MAX_BLOCK_BYTES, DataType
from .identity import type_name

MAGIC, VERSION, RAW, GZIP, MAX_RANK = b"KVTN", 1, 0, 1, 8
_HEADER = struct.Struct("<4s5B3x3I")
_NAMES = {DataType.FLOAT32: "float32", DataType.FLOAT16: "float16", DataType.BFLOAT16: "bfloat16", DataType.UINT8: "uint8"}
_TYPES = {name: kind for kind, name in _NAMES.items()}


class UnknownCompression(ValueError):
    """An encoded tensor is whole, and compressed in a way that is not decoded here."""


@dataclass(frozen=True)
class Tensor:
    """A tensor's elements, row-major and little-endian."""
    data_type: DataType
    shape: Tuple[int, ...]
    data: Buffer

    def __post_init__(self) -> None:
        if not isinstance(self.data_type, DataType):
            raise ValueError(f"data_type: a kvcache.DataType was expected, and is {self.data_type!r}")
        if len(self.shape) > MAX_RANK:
            raise ValueError(f"shape: at most {MAX_RANK} dimensions were expected, and is {self.shape}")
        size, expected = len(view_of(self.data)), prod(self.shape) * self.data_type.item_bytes
        if size != expected or size > MAX_BLOCK_BYTES:
            raise ValueError(f"data: {expected} bytes were expected, at most {MAX_BLOCK_BYTES}, and has {size}")

    @staticmethod
    def of(value: Any) -> Tensor:
        """A torch tensor, a numpy array or a ``Tensor``; copied only where it is not a row of bytes in host memory."""
        if isinstance(value, Tensor):
            return value
        if not hasattr(value, "dtype") or not hasattr(value, "shape"):
            raise ValueError(f"a tensor of torch, an array of numpy or a kvcache.Tensor was expected, and is a {type(value).__name__}")
        kind = _TYPES.get(type_name(value.dtype))
        if kind is None:
            raise ValueError(f"dtype: one of {', '.join(_TYPES)} was expected, and is {value.dtype}")
        if hasattr(value, "data_ptr"):
            return Tensor(kind, tuple(value.shape), value.detach().cpu().contiguous())
        return Tensor(kind, tuple(value.shape), value.tobytes())

    def to_numpy(self) -> Any:
        """An array of numpy; bfloat16, which numpy does not have, as float32."""
        numpy = engine_module("numpy", "Tensor.to_numpy", "numpy")
        self._check_array()
        wide = self._widened() if self.data_type == DataType.BFLOAT16 else self
        return numpy.frombuffer(view_of(wide.data), _NAMES[wide.data_type]).reshape(self.shape).copy()

    def to_torch(self) -> Any:
        """A tensor of torch in host memory, with memory of its own."""
        torch = engine_module("torch", "Tensor.to_torch", "torch")
        self._check_array()
        tensor = torch.empty(self.shape, dtype=getattr(torch, _NAMES[self.data_type]))
        if tensor.numel():
            view_of(tensor)[:] = view_of(self.data)
        return tensor

    def encode(self, narrowed: Optional[DataType] = None, gzip: bool = False) -> bytes:
        """The tensor with a header and a checksum. float32 can be ``narrowed`` to float16 or bfloat16, which loses precision; what
        does not become smaller by ``gzip`` stays as it is."""
        stored = self if narrowed in (None, self.data_type) else self._narrowed(narrowed)
        payload, compression = view_of(stored.data), RAW
        if gzip:
            packer = zlib.compressobj(1, wbits=31)
            packed = packer.compress(payload) + packer.flush()
            if len(packed) < len(payload):
                payload, compression = memoryview(packed), GZIP
        header = bytearray(_HEADER.pack(MAGIC, VERSION, self.data_type, stored.data_type, compression, len(self.shape), 0,
                                        len(view_of(self.data)), len(payload)))
        header += struct.pack(f"<{len(self.shape)}I", *self.shape)
        # Of all bytes but its own four.
        header[12:16] = struct.pack("<I", zlib.crc32(payload, zlib.crc32(header[16:], zlib.crc32(header[:12]))))
        return bytes(header) + bytes(payload)

    @staticmethod
    def decode(encoded: Buffer, most: int = MAX_BLOCK_BYTES) -> Tensor:
        """The tensor of such bytes, of at most so many bytes; ``ValueError`` for bytes that are none, are damaged, or are
        compressed in another way than gzip."""
        view = view_of(encoded)
        if len(view) < _HEADER.size:
            raise ValueError("an encoded tensor has a header, and this is shorter")
        magic, version, kind, stored, compression, rank, crc, size, length = _HEADER.unpack_from(view)
        start = _HEADER.size + 4 * rank
        if magic != MAGIC or version != VERSION or rank > MAX_RANK or any(view[9:12]) or len(view) != start + length or size > most:
            raise ValueError("this is no encoded tensor of version 1")
        if crc != zlib.crc32(view[16:], zlib.crc32(view[:12])):
            raise ValueError("an encoded tensor is damaged")
        shape, data_type, stored_type = struct.unpack_from(f"<{rank}I", view, _HEADER.size), DataType(kind), DataType(stored)
        if size != prod(shape) * data_type.item_bytes:
            raise ValueError("the size of an encoded tensor is not that of its shape")
        payload: Buffer = view[start:]
        if compression == GZIP:
            payload = _unzip(payload, prod(shape) * stored_type.item_bytes)
        elif compression != RAW:
            raise UnknownCompression(f"compression {compression} is not decoded here; none or gzip was expected")
        tensor = Tensor(stored_type, shape, payload)
        if stored_type == data_type:
            return tensor
        if data_type != DataType.FLOAT32:
            raise ValueError(f"elements of {stored_type.name} do not stand for {data_type.name}")
        return tensor._widened()

    def _check_array(self) -> None:
        if self.data_type not in _NAMES:
            raise ValueError(f"data_type: one of {', '.join(_TYPES)} was expected, and is {self.data_type.name}")

    def _narrowed(self, kind: DataType) -> Tensor:
        """Elements of float32 as float16 or bfloat16, rounded to nearest, ties to even; NaN stays NaN, what is too large is infinite."""
        numpy = engine_module("numpy", "to narrow float32", "numpy")
        if self.data_type != DataType.FLOAT32 or kind not in (DataType.FLOAT16, DataType.BFLOAT16):
            raise ValueError(f"narrowed: float32 to float16 or bfloat16 was expected, and is {self.data_type.name} to {kind.name}")
        floats = numpy.frombuffer(view_of(self.data), "float32")
        if kind == DataType.FLOAT16:
            with numpy.errstate(over="ignore"):
                return Tensor(kind, self.shape, floats.astype("float16").tobytes())
        bits = floats.view("uint32").astype("uint64")
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return Tensor(kind, self.shape, numpy.where(numpy.isnan(floats), bits >> 16 | 0x40, rounded).astype("uint16").tobytes())

    def _widened(self) -> Tensor:
        """The elements, of 16 bits, as float32."""
        data = view_of(self.data)
        if self.data_type == DataType.BFLOAT16:
            wide = bytearray(2 * len(data))
            wide[2::4], wide[3::4] = data[0::2], data[1::2]
        elif self.data_type == DataType.FLOAT16:
            wide = bytearray(struct.pack(f"<{len(data) // 2}f", *struct.unpack(f"<{len(data) // 2}e", data)))
        else:
            raise ValueError(f"elements of {self.data_type.name} do not stand for FLOAT32")
        return Tensor(DataType.FLOAT32, self.shape, wide)


def _unzip(payload: memoryview, size: int) -> bytes:
    """What is compressed, of just so many bytes: a bomb is not unpacked."""
    data, rest, unpacker = bytearray(), bytes(payload), zlib.decompressobj(31)
    try:
        while rest and len(data) <= size:  # one member after the other
            unpacker = zlib.decompressobj(31)
            data += unpacker.decompress(rest, size + 1 - len(data))
            if not unpacker.eof:
                break
            rest = unpacker.unused_data
    except zlib.error as error:
        raise ValueError(f"an encoded tensor cannot be unpacked: {error}") from error
    if len(data) != size or not unpacker.eof or rest:
        raise ValueError("an encoded tensor unpacks to another size than it says")
    return bytes(data)
