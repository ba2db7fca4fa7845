"""Threads of a fixed number, with a queue of a fixed length."""
from __future__ import annotations

import logging
import queue
import threading
from typing import Callable, List, Optional

logger = logging.getLogger("kvcache")


class BoundedWorkers:
    """Runs tasks off the caller's thread, in their order. A task that has no place is refused at once."""

    def __init__(self, name: str, threads: int, limit: int):
        self._queue: "queue.Queue[Optional[Callable[[], None]]]" = queue.Queue(limit)
        self._stopping = threading.Event()
        self._threads: List[threading.Thread] = []
        for index in range(threads):
            thread = threading.Thread(target=self._work, name=f"kvcache-{name}-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, task: Callable[[], None]) -> bool:
        """Whether the task will run."""
        if self._stopping.is_set():
            return False
        try:
            self._queue.put_nowait(task)
        except queue.Full:
            return False
        return True

    def stop(self, wait: float) -> None:
        """Lets running tasks end, for so many seconds at most. What waits in the queue runs too."""
        self._stopping.set()
        for _ in self._threads:
            try:
                self._queue.put(None, timeout=wait)
            except queue.Full:
                break
        for thread in self._threads:
            thread.join(wait)

    def _work(self) -> None:
        while True:
            task = self._queue.get()
            if task is None:
                return
            try:
                task()
            except Exception:
                logger.exception("a transfer failed; its blocks count as misses")
