"""Where the bytes of an engine block are in the tensors of vLLM's paged KV cache.

A layer's cache is one tensor with a dimension of blocks, which versions and backends put in different places:

====================================  ==================================================
``(2, blocks, tokens, heads, dim)``   FlashAttention up to 0.19
``(blocks, 2, tokens, heads, dim)``   FlashInfer, and all backends of 0.23 and 0.24
``(blocks, heads, tokens, 2 * dim)``  main; the strides say whether it lies as NHD or HND
``(blocks, tokens, latent)``          MLA
====================================  ==================================================

The bytes of a block are taken in the order in which they lie in memory, whatever the order of the dimensions is. That
order, the shape and the type of the elements are part of the namespace, so two layouts never mix; how many blocks the
cache has is not.
"""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ..identity import digest


@dataclass(frozen=True)
class LayerLayout:
    """How one layer's tensor is cut into blocks."""
    #: Dimension of the blocks in the tensor.
    block_dim: int
    #: Blocks of the tensor that are one block of the engine, when a kernel has smaller ones.
    split: int
    #: The other dimensions in the order in which they lie in memory, largest stride first.
    order: Tuple[int, ...]
    #: Their sizes in that order.
    shape: Tuple[int, ...]
    dtype: str
    item_bytes: int

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of the engine."""
        size = self.split * self.item_bytes
        for length in self.shape:
            size *= length
        return size


def layer_layout(shape: Sequence[int], strides: Sequence[int], dtype: str, item_bytes: int, blocks: int) -> LayerLayout:
    """The layout of a tensor that holds ``blocks`` blocks of the engine."""
    block_dim = _block_dim(tuple(shape), blocks)
    others = [dim for dim in range(len(shape)) if dim != block_dim]
    # Dimensions of one element have any stride; they keep their place among those that have one.
    order = tuple(sorted(others, key=lambda dim: -strides[dim] if shape[dim] > 1 else -max(strides)))
    return LayerLayout(block_dim, shape[block_dim] // blocks, order, tuple(shape[dim] for dim in order), dtype, item_bytes)


def _block_dim(shape: Tuple[int, ...], blocks: int) -> int:
    # K and V in front of the blocks, as FlashAttention had it. With two blocks in all the shape says nothing.
    if len(shape) == 5 and shape[0] == 2 and shape[1] % blocks == 0 and (blocks != 2 or shape[1] == 2):
        return 1
    if len(shape) >= 2 and shape[0] % blocks == 0 and shape[0] > 0:
        return 0
    raise ValueError(f"a KV cache of shape {list(shape)} does not show its {blocks} blocks")


def layout_digest(layers: Dict[str, LayerLayout], **fields: Any) -> str:
    """A short text that stands for where the bytes of a block come from: the layers in their order, and the fields."""
    return digest({"layers": [[name, asdict(layout)] for name, layout in layers.items()], **fields})


def layer_ends(layouts: Sequence[LayerLayout], engine_blocks: int) -> Tuple[int, ...]:
    """Where each layer ends in a block that groups so many blocks of the engine."""
    ends: List[int] = []
    for layout in layouts:
        ends.append((ends[-1] if ends else 0) + engine_blocks * layout.block_bytes)
    return tuple(ends)
