"""The KV cache of one worker: engine blocks in, bytes of cache blocks out, and back."""
from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

from .groups import Group
from .layout import LayerLayout, layer_ends, layer_layout
from .messages import SKIPPED

# Elements are only moved: integers of their size stand for them, also where torch cannot index the real type.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class GroupMemory:
    """The layers of one KV cache group. The bytes of a cache block are, layer by layer, those of its engine blocks."""

    def __init__(self, group: Group, caches: Dict[str, Any], blocks: int, tokens_per_block: int):
        self.group = group
        self.layouts: Dict[str, LayerLayout] = {}
        self._views: List[Any] = []
        seen = set()
        for name in group.layer_names:
            cache = caches[name]
            # A layer that shares the cache of another one brings nothing of its own.
            place = (cache.data_ptr(), tuple(cache.shape), tuple(cache.stride()))
            if place in seen:
                continue
            seen.add(place)
            layout = layer_layout(cache.shape, cache.stride(), str(cache.dtype), cache.element_size(), blocks)
            self.layouts[name] = layout
            self._views.append(_by_blocks(cache, layout, blocks))
        self.layer_index = {name: index for index, name in enumerate(self.layouts)}
        self.engine_blocks = group.blocks_in(tokens_per_block)
        self.layer_ends = layer_ends(list(self.layouts.values()), self.engine_blocks)
        self.block_bytes = self.layer_ends[-1]

    def gather(self, layer: int, blocks: Sequence[int], stage: Any) -> None:
        """Copies one layer of a run of engine blocks to its place in a buffer."""
        view, part = self._views[layer], self._part(layer, stage)
        index = torch.tensor(blocks, dtype=torch.int64, device=view.device)
        part.copy_(view.index_select(0, index).reshape(-1).view(torch.uint8), non_blocking=True)

    def scatter(self, blocks: Sequence[int], stage: Any) -> None:
        """Copies a buffer to its engine blocks, all layers; those that are ``SKIPPED`` stay as they are."""
        wanted = [(position, block) for position, block in enumerate(blocks) if block != SKIPPED]
        if not wanted:
            return
        for layer, view in enumerate(self._views):
            part = self._part(layer, stage).to(view.device, non_blocking=True)
            if part.storage_offset() % view.element_size():
                part = part.clone()
            rows = part.view(view.dtype).view(self.engine_blocks, *view.shape[1:])
            if len(wanted) < self.engine_blocks:
                rows = rows[torch.tensor([position for position, _ in wanted], device=view.device)]
            view.index_copy_(0, torch.tensor([block for _, block in wanted], device=view.device), rows)

    def _part(self, layer: int, stage: Any) -> Any:
        return stage[self.layer_ends[layer - 1] if layer else 0:self.layer_ends[layer]]


def _by_blocks(cache: Any, layout: LayerLayout, blocks: int) -> Any:
    """A view with a row for every engine block, whose elements come in the order in which they lie in memory."""
    view = cache.view(_INTEGERS[cache.element_size()]) if cache.element_size() != 1 else cache.view(torch.uint8)
    view = view.permute(layout.block_dim, *layout.order)
    return view.unflatten(0, (blocks, layout.split)) if layout.split > 1 else view


class CopyStream:
    """Copies beside the engine's own work: a stream of their own on a GPU, just a call in host memory."""

    def __init__(self, device: Any):
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"a KV cache on {device} is not supported, only on cuda and cpu")
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> Optional[Any]:
        """The work that the engine has given to its device until now; called on the engine's thread."""
        if self._stream is None:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def run(self, copies: Callable[[], None], after: Optional[Any] = None) -> None:
        """Runs copies behind a mark, and returns when they are done."""
        context: Any = nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        with context:
            if self._stream is not None and after is not None:
                self._stream.wait_event(after)
            copies()
        if self._stream is not None:
            self._stream.synchronize()
