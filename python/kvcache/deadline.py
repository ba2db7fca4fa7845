"""One deadline for all steps of a call."""
from __future__ import annotations

import time
from typing import Optional, Union


#: What locks and sockets can wait for on every system: twelve days. Longer is as good as for ever.
LONGEST = float(1 << 20)


class Deadline:
    """A point in time. Every step of a call gets what is left of the whole, so that steps never add up."""

    __slots__ = ("_end", "_whole", "_cancelled")

    def __init__(self, seconds: float, whole: Optional[Deadline] = None):
        """``whole`` is the deadline that this one is a part of: it ends with it at the latest."""
        self._end, self._whole, self._cancelled = time.monotonic() + min(seconds, LONGEST), whole, False

    @staticmethod
    def of(timeout: Union[None, float, Deadline], default: float) -> Deadline:
        """The deadline of a call that was given a deadline, seconds from now, or nothing."""
        if isinstance(timeout, Deadline):
            return timeout
        if timeout is None:
            return Deadline(default)
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout >= 0:
            raise ValueError(f"timeout: seconds from 0 on, a Deadline or None was expected, and is {timeout!r}")
        return Deadline(timeout)

    @property
    def remaining(self) -> float:
        """Seconds that are left, never negative."""
        left = max(0.0, self._end - time.monotonic())
        return left if self._whole is None else min(left, self._whole.remaining)

    @property
    def passed(self) -> bool:
        return self.remaining <= 0

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has lost interest: what fails then is no fault of a silo."""
        return self._cancelled or (self._whole is not None and self._whole.is_cancelled)

    def cancel(self) -> None:
        """Lets the deadline pass now, for all parts of the call; from any thread."""
        self._cancelled, self._end = True, 0.0

    def at_most(self, seconds: Optional[float]) -> Deadline:
        """This deadline, or one in ``seconds`` when that comes earlier."""
        return self if seconds is None or seconds >= self.remaining else Deadline(seconds, self)


#: What a ``timeout`` parameter accepts: nothing (the default of the object), seconds, or a shared deadline.
Timeout = Union[None, float, Deadline]
