"""What a call of the low-level client raises."""
from __future__ import annotations

from typing import Optional

from .wire import Status


class KvCacheError(Exception):
    """A call failed. ``status`` is the server's (a ``Status``, or a number that this client does not know); it is
    ``None`` when the connection failed instead: a deadline passed, the stream broke, or it made no sense."""

    def __init__(self, message: str, status: Optional[int] = None):
        super().__init__(message)
        self.status = Status(status) if status in tuple(Status) else status
