"""What a match has found."""
from __future__ import annotations

from typing import TYPE_CHECKING, List, Tuple

from .deadline import Deadline
from .errors import KvCacheError

if TYPE_CHECKING:
    from .namespace import Match
    from .pool import Session


class Found:
    """Answer of ``Cache.match``: the first ``count`` blocks are stored, and kept for ``hold_ms`` when they were to be. As a context
    it ends the hold at its end."""

    def __init__(self, count: int = 0) -> None:
        self.count, self.hold_ms = count, 0
        self._holds: List[Tuple[int, Session]] = []

    def add(self, match: Match, session: Session) -> None:
        """The answer about the next part of the chain."""
        self.count += match.found
        if match.hold_id:
            self.hold_ms = min(self.hold_ms or match.hold_ms, match.hold_ms)
            self._holds.append((match.hold_id, session))

    def release(self, timeout: float = 0.1) -> None:
        """Ends the hold, if there is one; it ends by itself after ``hold_ms`` too."""
        holds, self._holds = self._holds, []
        deadline = Deadline(timeout)
        for hold_id, session in holds:
            if session.client.is_closed:
                continue
            try:
                session.client.release(hold_id, deadline)
            except KvCacheError:
                pass  # it ends with its connection

    def __enter__(self) -> Found:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
