"""One deadline for all steps of a call."""
from __future__ import annotations

import time
from typing import Optional, Union


class Deadline:
    """A point in time. Every step of a call gets what is left of the whole, so that steps never add up."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @staticmethod
    def of(timeout: Union[None, float, Deadline], default: float) -> Deadline:
        """The deadline of a call that was given a deadline, seconds from now, or nothing."""
        if isinstance(timeout, Deadline):
            return timeout
        return Deadline(default if timeout is None else timeout)

    @property
    def remaining(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining <= 0

    def at_most(self, seconds: Optional[float]) -> Deadline:
        """This deadline, or one in ``seconds`` when that comes earlier."""
        return self if seconds is None or seconds >= self.remaining else Deadline(seconds)


#: What a ``timeout`` parameter accepts: nothing (the default of the object), seconds, or a shared deadline.
Timeout = Union[None, float, Deadline]
