"""Which silo a block is read from when several have it."""
from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from .namespace import Location, Silo
from .pool import usable_address
from .wire import REDIS_BIT

#: Where blocks are read from: an address, or None for the silo that was asked.
Source = Optional[str]


def plan_reads(location: Location, wanted: List[int]) -> Dict[Source, List[int]]:
    """Distributes the wanted blocks over the silos that have them, so that all have about the same to do. Blocks that
    only Redis has are left to the silo that was asked, which fetches them."""
    sources: List[Tuple[int, Source]] = []
    for bit, silo in enumerate(location.silos):
        address = None if silo.answers else usable_address(silo.endpoints)
        if silo.answers or address is not None:
            sources.append((1 << bit, address))
    shares: Dict[Source, List[int]] = {}
    for index in wanted:
        mask = location.holders[index] if index < len(location.holders) else 0
        holding = [source for bit, source in sources if mask & bit & ~(1 << REDIS_BIT)]
        source = min(holding, key=lambda name: len(shares.get(name, ())), default=None)
        shares.setdefault(source, []).append(index)
    return shares


def join_locations(parts: Sequence[Location]) -> Location:
    """The answers about consecutive runs of a chain as one. Each numbers the silos anew; silos beyond the bits of a block's
    holders are left out, as the silos do."""
    silos: List[Silo] = []
    holders: List[int] = []
    for part in parts:
        bits = {REDIS_BIT: 1 << REDIS_BIT}
        for bit, silo in enumerate(part.silos):
            if silo not in silos and len(silos) < REDIS_BIT:
                silos.append(silo)
            bits[bit] = 1 << silos.index(silo) if silo in silos else 0
        masks = {mask: sum(new for bit, new in bits.items() if mask >> bit & 1) for mask in set(part.holders)}
        holders += [masks[mask] for mask in part.holders]
    return Location(tuple(silos), tuple(holders))
