"""Threads of a fixed number, with a queue of a fixed length."""
from __future__ import annotations

import logging
import queue
import threading
from typing import Callable, List, Optional

from ..forks import renews_after_fork

logger = logging.getLogger("kvcache")


class BoundedWorkers:
    """Runs tasks off the caller's thread, in their order. A task that has no place is refused at once."""

    def __init__(self, name: str, threads: int, limit: int):
        """The threads start with the first task."""
        self._name, self._count, self._limit = name, threads, limit
        self.after_fork()
        renews_after_fork(self)

    def after_fork(self) -> None:
        """In a child: its own queue, and threads when they are needed. What waits in the parent's queue runs there."""
        self._queue: "queue.Queue[Optional[Callable[[], None]]]" = queue.Queue(self._limit)
        self._lock, self._is_stopping = threading.Lock(), False
        self._threads: List[threading.Thread] = []

    def submit(self, task: Callable[[], None]) -> bool:
        """Whether the task will run."""
        with self._lock:
            if self._is_stopping:
                return False
            try:
                self._queue.put_nowait(task)
            except queue.Full:
                return False
            while len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, args=(self._queue,), daemon=True,
                                          name=f"kvcache-{self._name}-{len(self._threads)}")
                thread.start()
                self._threads.append(thread)
            return True

    def stop(self, wait: float) -> None:
        """Lets running tasks end, for so many seconds at most. What waits in the queue runs too."""
        with self._lock:
            self._is_stopping = True
        for _ in self._threads:
            try:
                self._queue.put(None, timeout=wait)
            except queue.Full:
                break
        for thread in self._threads:
            thread.join(wait)

    @staticmethod
    def _work(tasks: "queue.Queue[Optional[Callable[[], None]]]") -> None:
        while True:
            task = tasks.get()
            if task is None:
                return
            try:
                task()
            except Exception:
                logger.exception("a transfer failed; its blocks count as misses")
