"""Numbers of the data plane protocol (docs/protocol.md)."""
from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import Any, Set

#: The version of this client, and the oldest one that it understands.
VERSION, OLDEST_VERSION = 2, 2
MAGIC = 0x3143564B
MAX_META = 1 << 20
#: magic, type, status, units of tagged fields, request id, length of the meta part, CRC-32, length of the payload
HEADER = struct.Struct("<IBBHQIIQ")

HELLO, AUTHENTICATE, OPEN, MATCH, GET, PUT, PIN, DELETE, RELEASE, STAT, VERIFY, LOCATE = range(1, 13)
EXPIRE, CLEAR, HINT = 20, 21, 22
REPLY, GET_END, ERROR = 0x80, 0xA5, 0xFF

#: Flags of a get.
PAST_MISSES, LOCAL_ONLY = 1, 2
#: Flags of a put.
PERSISTED, KEEPS_LIFE = 1, 4
#: Bytes in which the header counts the tagged fields of a frame.
FIELD_UNIT = 16
#: First tag of a field that must not be passed over.
MUST_BE_KNOWN = 0x8000
#: What is known of when blocks are used again.
HINT_FIELD = 6
#: The silo is about to leave.
LEAVING = 2
#: Nothing is about to be read: the tagged fields of a locate of somebody who only wants to know.
NOT_A_READ = struct.pack("<HHI8x", 3, 0, 0)
#: Bit of a location that stands for Redis; the others are silos.
REDIS_BIT = 63
#: Most namespaces of one match.
MAX_MATCHED_NAMESPACES = 1024


class Status(IntEnum):
    """What an error frame is about."""
    OK = 0
    MISS = 1
    NO_COMMON_VERSION = 16
    NOT_AUTHENTICATED = 17
    BAD_FRAME = 18
    WRONG_TENANT = 19
    UNKNOWN_NAMESPACE = 20
    OUT_OF_BOUNDS = 21
    LIMIT_REACHED = 22
    STOPPING = 23
    FAILED = 24


#: After an error of these the connection goes on.
GOES_ON = (Status.WRONG_TENANT, Status.UNKNOWN_NAMESPACE, Status.OUT_OF_BOUNDS, Status.LIMIT_REACHED)


class Outcome(IntEnum):
    """What became of one block of a put."""
    STORED = 0
    ALREADY_STORED = 1
    BEING_WRITTEN = 2
    NO_MEMORY = 3
    CORRUPT = 4
    REVOKED = 5
    TOO_LARGE = 6
    FAILED = 7
    NO_ROOM_IN_PREFIX = 8
    NO_ROOM_IN_SHARE = 9
    NOT_WORTH_ROOM = 10

    @property
    def is_stored(self) -> bool:
        """Whether the block can be read now."""
        return self in (Outcome.STORED, Outcome.ALREADY_STORED)

    @property
    def is_no_room(self) -> bool:
        """Whether there was no room for it, whatever the reason: another silo may have some."""
        return self in (Outcome.NO_MEMORY, Outcome.NO_ROOM_IN_PREFIX, Outcome.NO_ROOM_IN_SHARE,
                        Outcome.NOT_WORTH_ROOM)


class Item(IntEnum):
    """What became of one block of a pin or a delete."""
    NOTHING = 0
    DONE = 1
    UNCONFIRMED = 2


def read_fields(fields: bytes) -> Set[int]:
    """The tags of a frame's fields; ``ConnectionError`` for what is no list of them, or for one that must be known and is not."""
    tags: Set[int] = set()
    at = 0
    while len(fields) - at >= 8:
        tag, _, length = struct.unpack_from("<HHI", fields, at)
        if tag == 0:
            break
        if tag >= MUST_BE_KNOWN:
            raise ConnectionError(f"the answer has the field {tag:#x}, which must be understood, and this client does not know it")
        tags.add(tag)
        at += 8 + length
    if at > len(fields) or any(fields[at:]):
        raise ConnectionError("the fields of a frame are damaged")
    return tags


def milliseconds(seconds: float) -> int:
    """A duration as it travels: whole milliseconds, rounded up."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds < 1 << 53:
        raise ValueError(f"a duration is 0 seconds or more, and is {seconds!r}")
    return math.ceil(seconds * 1000)


def pack(form: str, *values: Any) -> bytes:
    """Fields of a request; ``ValueError`` for a number that does not fit its field."""
    try:
        return struct.pack(form, *values)
    except struct.error as error:
        raise ValueError(f"a number is out of its bounds: {error}") from error
