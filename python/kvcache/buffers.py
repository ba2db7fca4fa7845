"""Memory that blocks are read into and stored from, without copies."""
from __future__ import annotations

import ctypes
from typing import Any, List, Sequence

#: One contiguous piece of memory: bytes, bytearray, memoryview, a numpy array, or a tensor in host memory.
Buffer = Any


def view_of(buffer: Buffer) -> memoryview:
    """The bytes of a buffer. Tensors need not support the buffer protocol: those in contiguous host memory are viewed at
    their address, and stay alive as long as the view does."""
    if hasattr(buffer, "data_ptr"):
        return _tensor_view(buffer)
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError(f"a buffer was expected, as bytes, a bytearray, an array or a tensor, and is a {type(buffer).__name__}") from None
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _tensor_view(tensor: Any) -> memoryview:
    if tensor.device.type != "cpu":
        raise ValueError(f"a tensor on {tensor.device} has no host memory; copy it to pinned memory first")
    if not tensor.is_contiguous():
        raise ValueError("a tensor with gaps has no bytes in a row; pass its contiguous parts")
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return memoryview(b"")
    memory = (ctypes.c_ubyte * size).from_address(tensor.data_ptr())
    memory.owner = tensor  # type: ignore[attr-defined]
    return memoryview(memory).cast("B")


def check_list(name: str, value: Any) -> None:
    """``ValueError`` for what is no list of things."""
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        raise ValueError(f"{name}: a list was expected, and is a {type(value).__name__}")


def views_of_block(block: Any) -> List[memoryview]:
    """The pieces of a block: it is one buffer, or a list or tuple of buffers that make up the block in their order."""
    return [view_of(part) for part in block] if isinstance(block, (list, tuple)) else [view_of(block)]


def cut(views: Sequence[memoryview], sizes: Sequence[int]) -> List[List[memoryview]]:
    """Cuts a sequence of views into consecutive runs of the given sizes, which must add up to what the views hold."""
    if sum(map(len, views)) != sum(sizes):
        raise ValueError(f"the buffers hold {sum(map(len, views))} bytes instead of {sum(sizes)}")
    runs: List[List[memoryview]] = []
    source = iter(views)
    rest = memoryview(b"")
    for size in sizes:
        run: List[memoryview] = []
        while size:
            if not rest:
                rest = next(source)
                continue
            run.append(rest[:size])
            size -= len(run[-1])
            rest = rest[len(run[-1]):]
        runs.append(run)
    return runs


def split(buffer: Buffer, size: int, count: int, offset: int = 0) -> List[memoryview]:
    """``count`` views of ``size`` bytes, one behind the other from ``offset`` on."""
    view = view_of(buffer)
    if not 0 <= offset <= len(view) - size * count:
        raise ValueError("the buffer is too small")
    return [view[offset + i * size:offset + (i + 1) * size] for i in range(count)]
