"""Circuit breaker: a silo that is away costs its callers nothing."""
from __future__ import annotations

import logging
import threading
import time

from .forks import renews_after_fork

logger = logging.getLogger("kvcache")


class Breaker:
    """Opens after ``failures`` failures in a row. While it is open nothing is tried; after ``delay`` seconds one caller
    may probe, and each failed probe doubles the delay up to ``max_delay``."""

    def __init__(self, name: str, failures: int = 3, delay: float = 1.0, max_delay: float = 30.0):
        self._name = name
        self._limit, self._first_delay, self._max_delay = failures, delay, max_delay
        self._lock = threading.Lock()
        self._failures = 0
        self._delay = delay
        self._retry_at = 0.0
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: what is known of the silo stays, but for the lock."""
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        return self._failures >= self._limit and time.monotonic() < self._retry_at

    def allows(self) -> bool:
        """Whether the caller may try. When it is time for a probe, only one caller may, until its result is known or
        another delay has passed."""
        with self._lock:
            if self._failures < self._limit:
                return True
            now = time.monotonic()
            if now < self._retry_at:
                return False
            self._retry_at = now + self._delay
            return True

    def succeeded(self) -> None:
        with self._lock:
            was_open = self._failures >= self._limit
            self._failures = 0
            self._delay = self._first_delay
        if was_open:
            logger.warning("%s answers again", self._name)

    def failed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            opened = self._failures == self._limit
            if self._failures > self._limit:
                self._delay = min(self._delay * 2, self._max_delay)
            if self._failures >= self._limit:
                self._retry_at = time.monotonic() + self._delay
        if opened:
            logger.warning("%s is left alone for a while, its blocks count as misses: %s", self._name, reason)
