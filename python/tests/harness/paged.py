"""Paged KV caches in the layouts of vLLM's backends, filled with bytes that follow from the tokens."""
import zlib
from array import array
from typing import Sequence

import torch

HEADS, DIM, LATENT = 2, 4, 10
LAYOUTS = ("2BNHD", "B2NHD", "BHN2D-NHD", "BHN2D-HND", "MLA", "B2NHD-split", "B2NHD-HND")


class PagedLayer:
    """One layer's cache. ``token`` is what belongs to one token, whatever the layout."""

    def __init__(self, layout: str, blocks: int, tokens: int, dtype: str = "float16"):
        self.layout, self.tokens = layout, tokens
        kind = getattr(torch, dtype)
        self.split = 2 if layout == "B2NHD-split" else 1
        if layout == "2BNHD":
            self.tensor = torch.zeros(2, blocks, tokens, HEADS, DIM, dtype=kind)
        elif layout == "B2NHD-HND":
            self.tensor = torch.zeros(blocks, 2, HEADS, tokens, DIM, dtype=kind).permute(0, 1, 3, 2, 4)
        elif layout.startswith("B2NHD"):
            self.tensor = torch.zeros(blocks * self.split, 2, tokens // self.split, HEADS, DIM, dtype=kind)
        elif layout == "BHN2D-NHD":
            self.tensor = torch.zeros(blocks, tokens, HEADS, 2 * DIM, dtype=kind).permute(0, 2, 1, 3)
        elif layout == "BHN2D-HND":
            self.tensor = torch.zeros(blocks, HEADS, tokens, 2 * DIM, dtype=kind)
        elif layout == "MLA":
            self.tensor = torch.zeros(blocks, tokens, LATENT, dtype=kind)
        else:
            raise ValueError(layout)

    def token(self, block: int, offset: int) -> torch.Tensor:
        if self.split > 1:
            small = self.tokens // self.split
            block, offset = block * self.split + offset // small, offset % small
        if self.layout == "2BNHD":
            return self.tensor[:, block, offset]
        if self.layout == "MLA":
            return self.tensor[block, offset]
        return self.tensor[block, :, offset]


def expected_token(request, token: int, layer: str, rank: int, like: torch.Tensor) -> torch.Tensor:
    """The KV of a token: a function of everything before it, of the layer and the rank."""
    prefix = array("q", request.all_token_ids[:token + 1]).tobytes() + repr((request.cache_salt, layer, rank)).encode()
    generator = torch.Generator().manual_seed(zlib.crc32(prefix))
    values = torch.randint(-100, 100, tuple(like.shape), generator=generator)
    return values.to(like.dtype)


def poison(layer: PagedLayer, blocks: Sequence[int]) -> None:
    """Overwrites blocks that nobody owns."""
    for block in blocks:
        for offset in range(layer.tokens):
            layer.token(block, offset).fill_(77)
