"""What a hostile client has: connections that break the rules, through every door of a real silo; and a well-behaved client beside it,
whom the attack must cost nothing."""
import json
import os
import random
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from kvcache import Cache, CacheOptions, Client, KvCacheError, Namespace, OpaqueLayout
from kvcache.hashing import engine_key_hash
from kvcache.wire import PUT

from .silos import SiloProcess, eventually

SECRETS = {"acme": "a secret of the tenant acme", "good": "a secret of the tenant good", "evil": "a secret of the tenant evil"}
CLUSTER_SECRET, SCRAPER, ADMINISTRATOR = "a secret of all the silos", "the scraper's own token", "the administrator's token"
KIB, MIB = 1 << 10, 1 << 20
#: The long form has the numbers of the outside attack, the short one is for every run of the tests.
LONG = bool(os.environ.get("KVCACHE_ATTACK_LONG"))
MAP_ARENA, GET_MAPPED, PUT_MAPPED = 13, 14, 15


def some(short: int, long: int) -> int:
    return long if LONG else short


def space(tenant: str, size: int = 64 * KIB, layers: int = 4, model: str = "attacked") -> Namespace:
    return Namespace(model, OpaqueLayout(16, tuple(size * (i + 1) // layers for i in range(layers))), tenant)


def names(first: int, count: int) -> List[bytes]:
    return [engine_key_hash(b"attack-%d" % (first + k)) for k in range(count)]


def content(name: bytes, size: int) -> bytes:
    """Bytes of a block that follow from its name, so that every byte that is read can be checked."""
    return random.Random(name).randbytes(4 * KIB) * (size // (4 * KIB))


def start(gateway: bool = False, settings: Optional[Dict[str, str]] = None, **options: Any) -> SiloProcess:
    """A silo with three tenants and every door open, whose strangers have a second."""
    shares = {"Tenants:good:Share": "0.4", "Tenants:acme:Share": "0.3"}
    doors = {f"{door}:HandshakeTimeout": "00:00:01" for door in ("DataPlane", "Resp", "LmCache", "Orleans")}
    return SiloProcess(arena="96MiB", tenants=SECRETS, unix=True, settings={
        "Resp:Listen": "127.0.0.1:0", "LmCache:Listen": "127.0.0.1:0", "LmCache:Tenant": "evil", "Events:Publish": "127.0.0.1:0",
        "Cluster:Secret": CLUSTER_SECRET,
        "Accounts:ScrapeToken": SCRAPER, "Accounts:AdminToken": ADMINISTRATOR, "Accounts:File": "{folder}/tenants.json",
        "DataPlane:SharedMemory": "true", **shares, **doors, **(settings or {})},
        arguments=["--arena-file", "{folder}/arena", "--gateway-port", "0" if gateway else "none"], **options)


class Peer(Client):
    """A connection of a tenant that can misbehave. A refusal is an exception with its status."""

    def __init__(self, silo: SiloProcess, tenant: str = "evil", secret: Optional[str] = None, unix: bool = False):
        super().__init__(silo.unix if unix else silo.endpoint, tenant, (SECRETS[tenant] if secret is None else secret).encode(), 20)

    def ask(self, kind: int, meta: bytes) -> bytes:
        with self.call(20):
            return self.request(kind, meta)

    def count(self, kind: int, meta: bytes) -> int:
        return struct.unpack_from("<I", self.ask(kind, meta))[0]

    def announce(self, hashes: Sequence[bytes], namespace: Namespace, sent: int, flags: int = 0) -> None:
        """The head of a put, and the first bytes of its payload."""
        handle = self.open(namespace).handle
        with self.call(20) as connection:
            connection.send(PUT, put_meta(handle, hashes, flags), [bytes(sent)], len(hashes) * block_bytes(namespace))

    def send(self, data: bytes) -> None:
        with self.call(20) as connection:
            connection._socket.sendall(data)


def put_meta(handle: int, hashes: Sequence[bytes], flags: int = 0) -> bytes:
    return struct.pack("<IQBB32sIQII", handle, 0, flags, 1, bytes(32), 0, 0, 0, len(hashes)) + b"".join(hashes)


def block_bytes(namespace: Namespace) -> int:
    """Bytes of a block in a put, with its checksums."""
    ends = namespace.layout.layer_ends
    return ends[-1] + 4 * len(ends)


def status_of(call) -> int:
    """Status with which a call is refused: 0 when it is not, -1 when the connection just ends."""
    try:
        call()
        return 0
    except KvCacheError as error:
        return -1 if error.status is None else int(error.status)


class Resp:
    """A connection to the Redis endpoint. A refusal is a text that begins with ``-``; None stands for nothing there."""

    def __init__(self, silo: SiloProcess, tenant: Optional[str] = None):
        self.socket = socket.create_connection(door(silo, "resp"), 20)
        self._file = self.socket.makefile("rb")
        if tenant:
            assert self("AUTH", tenant, SECRETS[tenant]) == b"OK"

    def __call__(self, *parts: Any) -> Any:
        self.socket.sendall(command(*parts))
        return self._reply()

    def _reply(self) -> Any:
        line = self._file.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind in b"-+":
            return rest if kind == b"+" else "-" + rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind in b"*%~":
            return [self._reply() for _ in range(int(rest) * (2 if kind == b"%" else 1))]
        assert kind == b"_", line
        return None


def command(*parts: Any) -> bytes:
    raw = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in raw)


def lm_put(key: bytes, length: int) -> bytes:
    """The head of an LMCache put: what follows is announced only."""
    return struct.pack("<9I", 1, length, 0, 0, 0, 0, 0, 0, 0) + key.ljust(150)


def http(silo: SiloProcess, path: str, token: Optional[str] = None, method: str = "GET", data: Optional[bytes] = None,
         kind: str = "application/json") -> Tuple[int, bytes]:
    headers = {"Content-Type": kind, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    for patience in range(10, -1, -1):
        try:
            with urllib.request.urlopen(urllib.request.Request(silo.ready["http"] + path, data, headers, method=method), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            # Whoever has not proved itself in time is cut off, also when the machine is slow.
            if not patience or method != "GET":
                raise
    raise AssertionError


def door(silo: SiloProcess, name: str) -> Tuple[str, int]:
    """Address of one of the silo's ports."""
    ready = silo.ready
    address = {"data": silo.endpoint[len("tcp:"):], "resp": ready["resp"], "lm": ready["lmCache"], "http": ready["http"][len("http://"):],
               "events": re.findall(r"KV events are published on (\S+)", silo.log)[-1],
               "silo": f"127.0.0.1:{ready['siloPort']}", "gateway": f"127.0.0.1:{ready['gatewayPort']}"}[name]
    host, _, port = address.rpartition(":")
    return host, int(port)


def stranger(silo: SiloProcess, name: str) -> socket.socket:
    """A connection from another address than the well-behaved client's: of one address, strangers push out each other."""
    return socket.create_connection(door(silo, name), 20, ("127.0.0.2", 0))


def subscriber(silo: SiloProcess, tenant: str) -> socket.socket:
    """A subscriber of KV events that has proved a tenant's secret (ZMTP 3.0, PLAIN)."""
    connection, name, secret = socket.create_connection(door(silo, "events"), 20), tenant.encode(), SECRETS[tenant].encode()
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"PLAIN".ljust(20, b"\0") + bytes(32))
    connection.recv(64, socket.MSG_WAITALL)
    for command, answer in ((b"\x05HELLO%c%s%c%s" % (len(name), name, len(secret), secret), b"\x07WELCOME"),
                            (b"\x08INITIATE\x0bSocket-Type\0\0\0\x03SUB", b"\x05READY")):
        connection.sendall(b"\x04%c" % len(command) + command)
        head = connection.recv(2, socket.MSG_WAITALL)
        assert connection.recv(head[1], socket.MSG_WAITALL).startswith(answer)
    return connection


def doors(silo: SiloProcess) -> List[str]:
    return ["data", "resp", "lm", "http", "events", "silo"] + (["gateway"] if silo.ready["gatewayPort"] else [])


def figures(silo: SiloProcess) -> Dict[str, int]:
    """What the store of the silo holds."""
    status, body = http(silo, "/admin/stats", SCRAPER)
    assert status == 200, body
    return json.loads(body)["store"]


def comes_back(silo: SiloProcess, what: str, condition) -> None:
    """Waits until the store is as it was."""
    eventually(f"{what}: {figures(silo)}", lambda: condition(figures(silo)), 120)


def facts(silo: SiloProcess) -> Tuple[int, int, int]:
    """Resident MiB, threads, open files."""
    process = Path(f"/proc/{silo.ready['processId']}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) // KIB, int(status["Threads"]), len(os.listdir(process / "fd"))


class WellBehaved:
    """A client of the tenant ``good`` that reads all the time, every other time through a new connection, and looks at every byte.
    At the end all its reads must have been hits."""

    #: Blocks that it stored before the attack.
    COUNT = 16

    def __init__(self, silo: SiloProcess):
        self._silo, self._space, self._names = silo, space("good"), names(0, self.COUNT)
        self._stopping = threading.Event()
        self.reads, self._faults = 0, []
        with self._cache() as cache:
            assert all(outcome.is_stored for outcome in
                       cache.put(self._space, self._names, [content(name, 64 * KIB) for name in self._names]))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _cache(self) -> Cache:
        patient = {name: 30.0 for name in ("connect_timeout", "match_timeout", "load_timeout", "store_timeout")}
        return Cache([self._silo.endpoint], options=CacheOptions(
            tenant="good", secret=SECRETS["good"].encode(), **patient))  # a machine that is busy is no attack

    def _run(self) -> None:
        with self._cache() as kept:
            while not self._stopping.is_set():
                self._read(kept)
                with self._cache() as fresh:
                    self._read(fresh)
                time.sleep(0.01)

    def _read(self, cache: Cache) -> None:
        targets = [bytearray(64 * KIB) for _ in self._names]
        hits = cache.get(self._space, self._names, targets)
        self.reads += 1
        if not all(hits):
            self._faults.append(f"read {self.reads} had {sum(hits)} of {len(hits)} blocks")
        for name, hit, target in zip(self._names, hits, targets):
            if hit and target != content(name, 64 * KIB):
                self._faults.append(f"read {self.reads} had wrong bytes")

    def __enter__(self) -> "WellBehaved":
        self._thread.start()
        eventually("it reads", lambda: self.reads > 1)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            before = self.reads
            eventually("it still reads", lambda: self.reads > before + 2)
        self._stopping.set()
        self._thread.join(90)
        if kind is None:
            assert not self._faults, f"{len(self._faults)} of {self.reads} reads failed: {self._faults[:5]}"
            self._silo.assert_healthy()


def at_once(*calls: Callable[[], Any]) -> List[Any]:
    """What calls return that run at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [call.result() for call in [pool.submit(call) for call in calls]]


def drain(connection: socket.socket, seconds: float) -> Tuple[bool, bytes]:
    """What comes until the peer closes the connection, and whether it did within the time."""
    got, end = b"", time.monotonic() + seconds
    try:
        while True:
            connection.settimeout(max(end - time.monotonic(), 0.01))
            piece = connection.recv(65536)
            if not piece:
                return True, got
            got += piece
    except socket.timeout:
        return False, got
    except OSError:
        return True, got
