"""Files that settings name: secrets, certificates. A FIFO or a device in the place of one is refused and not waited for."""
from __future__ import annotations

import errno
import logging
import os
import stat
from typing import Callable, Generic, TypeVar

logger = logging.getLogger("kvcache")

T = TypeVar("T")

#: More than any secret, key or list of certificates has.
MAX_BYTES = 1 << 20

_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFDIR: "folder", stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFSOCK: "socket"}


def read_file(path: str, limit: int = MAX_BYTES) -> bytes:
    """All of a file; ``OSError`` when it cannot be read, is no regular file, or has more than ``limit`` bytes."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "thing of another kind")
            raise OSError(errno.EINVAL, f"is a {kind}; a file was expected", path)
        content = bytearray()
        while len(content) <= limit:
            piece = os.read(number, limit + 1 - len(content))
            if not piece:
                return bytes(content)
            content += piece
        raise OSError(errno.EFBIG, f"has more than {limit} bytes; that is too large", path)
    finally:
        os.close(number)


class Kept(Generic[T]):
    """A value that is read anew whenever it is wanted. When it cannot be read any more the last one stays, and that is logged once."""

    def __init__(self, name: str, read: Callable[[], T]):
        self._name, self._read, self._problem = name, read, ""
        self._value = read()

    def now(self) -> T:
        """The value of now, or the last one that there was."""
        try:
            self._value = self._read()
            self._problem = ""
        except OSError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                logger.error("%s: the changed file is refused, and what was read before stays: %s", self._name, error)
        return self._value
