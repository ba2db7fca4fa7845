"""What a stranger, and a tenant who is another one's enemy, get through every door of a silo: nothing. What a client with Orleans' own
library gets behind the gateway is tried in tests/KvCache.ProcessTests/Security."""
import base64
import hmac
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from harness.attack import (ADMINISTRATOR, CLUSTER_SECRET, GET_MAPPED, KIB, LONG, MAP_ARENA, PUT_MAPPED, SCRAPER, SECRETS, Peer, Resp,
                            at_once, content, door, doors, drain, http, names, put_meta, space, start, status_of, stranger, subscriber)
from harness.silos import eventually, needs_silo_program
from kvcache import KvCacheError, Outcome
from kvcache.wire import CLEAR, DELETE, EXPIRE, GET, LOCATE, MATCH, PIN, Status

pytestmark = needs_silo_program
SIZE = 64 * KIB
THEIRS, MINE = space("acme", model="secret-model"), space("evil", model="secret-model")
HASHES = names(1000, 8)
BLOCKS = [content(name, SIZE) for name in HASHES]


@pytest.fixture(scope="module", params=["open", "closed"] if LONG else ["open"])
def silo(request):
    """A silo with blocks of acme, its gateway closed or open."""
    with start(gateway=request.param == "open") as silo:
        with Peer(silo, "acme") as acme:
            assert acme.open(THEIRS).put(HASHES, BLOCKS) == [Outcome.STORED] * 8
        redis = Resp(silo, "acme")
        assert redis("SET", "k", BLOCKS[0]) == b"OK"
        yield silo
        silo.assert_healthy()
        log = silo.log
        assert not [secret for secret in (*SECRETS.values(), CLUSTER_SECRET, SCRAPER, ADMINISTRATOR) if secret in log]


@pytest.fixture(autouse=True)
def acme_has_what_it_had(request):
    yield
    if "silo" not in request.fixturenames:
        return
    silo = request.getfixturevalue("silo")
    with Peer(silo, "acme") as acme:
        targets, hits = [bytearray(SIZE) for _ in HASHES], [False] * 8
        acme.open(THEIRS).read(HASHES, [memoryview(target) for target in targets], hits)
        assert all(hits) and targets == BLOCKS
    assert Resp(silo, "acme")("GET", "k") == BLOCKS[0]


@pytest.mark.parametrize("tenant,secret", [
    ("acme", SECRETS["evil"]), ("acme", ""), ("acme", CLUSTER_SECRET), ("nobody", ""), ("nobody", SECRETS["acme"]), ("default", ""),
    ("", ""), ("", SECRETS["acme"]), ("", SCRAPER)])
def test_native_wrong_secrets_open_nothing(silo, tenant, secret):
    assert status_of(lambda: Peer(silo, tenant, secret)) == Status.NOT_AUTHENTICATED


def test_native_another_tenants_blocks_are_not_there(silo):
    with Peer(silo) as evil:
        assert status_of(lambda: evil.open(THEIRS)) == Status.WRONG_TENANT
        mine = evil.open(MINE)
        targets, hits = [memoryview(bytearray(SIZE)) for _ in HASHES], [False] * 8
        mine.read(HASHES, targets, hits)
        assert not any(hits) and not any(any(target) for target in targets)
        assert (mine.match(HASHES).found, mine.pin(HASHES, 5), mine.delete(HASHES).deleted) == (0, 0, 0)
        assert not mine.locate(HASHES).holders


def test_native_another_tenants_hold_and_handles_are_not_mine(silo):
    with Peer(silo, "acme") as acme, Peer(silo) as evil:
        held = acme.match([acme.open(THEIRS)], HASHES, hold_ms=20_000)
        assert held.hold_id
        assert not any(evil.release(number) for number in (held.hold_id, held.hold_id - 1, held.hold_id + 1, *range(200)))
        one = struct.pack("<I", 1) + HASHES[0]
        for handle in 0, 1, 2, 77, 0xFFFFFFFF:
            number = struct.pack("<I", handle)
            for kind, meta in ((PIN, number + struct.pack("<Q", 5000) + one), (DELETE, number + one),
                               (EXPIRE, number + struct.pack("<Q", 5000) + one), (CLEAR, number), (LOCATE, number + one),
                               (MATCH, struct.pack("<II", 0, 1) + number + one), (GET, number + struct.pack("<BII", 1, 0, 4) + one)):
                assert status_of(lambda: evil.ask(kind, meta)) == Status.UNKNOWN_NAMESPACE, (kind, handle)
        assert acme.release(held.hold_id)


@pytest.mark.parametrize("kind,meta", [(16, struct.pack("<I", 1) + THEIRS.id + HASHES[0]), (17, struct.pack("<QI", 0, 0)), (18, b"")])
def test_native_requests_of_silos_are_not_a_tenants(silo, kind, meta):
    with Peer(silo) as evil:
        assert status_of(lambda: evil.ask(kind, meta)) == Status.BAD_FRAME
        assert evil.is_closed


def test_native_guesses_are_slowed_and_right_proofs_are_not(silo):
    began = time.monotonic()
    for guess in range(8):
        assert status_of(lambda: Peer(silo, "acme", f"a secret of the tenant acme {guess}")) == Status.NOT_AUTHENTICATED
    assert time.monotonic() - began > 1  # three are free, then 50, 100, 200, 400 and twice half of the time for a proof
    began = time.monotonic()
    for _ in range(8):
        Peer(silo, "acme").close()
    assert time.monotonic() - began < 8 * 0.4 + 5


@pytest.mark.parametrize("words", ["GET k", "SET k x", "DEL k", "EXISTS k", "SCAN 0", "DBSIZE", "INFO", "CLIENT LIST", "CONFIG GET *",
                                   "FLUSHDB", "FLUSHALL", "TYPE k", "MGET k", "STRLEN k", "EXPIRE k 1", "TTL k"])
def test_resp_before_a_proof_nothing_is_said(silo, words):
    answer = Resp(silo)(*words.split())
    assert isinstance(answer, str) and answer.startswith("-NOAUTH"), answer


def test_resp_another_tenants_keys_are_not_there(silo):
    evil = Resp(silo, "evil")
    assert (evil("GET", "k"), evil("EXISTS", "k"), evil("DEL", "k"), evil("STRLEN", "k")) == (None, 0, 0, 0)
    scanned, dbsize = evil("SCAN", "0"), evil("DBSIZE")
    assert not isinstance(scanned, list) or scanned[1] == []
    assert dbsize == 0 or str(dbsize).startswith("-")
    for words in "SELECT 1", "FLUSHDB", "FLUSHALL", "SWAPDB 0 1", "CLIENT KILL TYPE normal", "DEBUG SLEEP 1", "SHUTDOWN", "CONFIG SET dir /tmp":
        evil(*words.split())
    assert evil("GET", "k") is None
    info = evil("INFO")
    assert "acme" not in str(info) and "secret-model" not in str(info)


def test_resp_wrong_proofs_open_nothing_and_a_failed_one_leaves_nobody_in(silo):
    for words in (("", CLUSTER_SECRET), ("", ""), ("default", ""), ("acme", SECRETS["evil"]), ("nobody", SECRETS["acme"])):
        client = Resp(silo)
        assert str(client("AUTH", *words)).startswith("-"), words
        assert str(client("GET", "k")).startswith("-NOAUTH")
    evil = Resp(silo, "evil")
    assert str(evil("AUTH", "acme", "guessed, and much too short")).startswith("-")
    assert evil("GET", "k") is None or str(evil("GET", "k")).startswith("-")


def _everything_over_http(silo, token):
    """Path and method of everything that is a tenant's or an operator's, with the status of the answer and its bytes."""
    ns, one = THEIRS.id.hex(), HASHES[0].hex()
    encoding = base64.urlsafe_b64encode(THEIRS.encode()).decode().rstrip("=")
    several = {"hashes": [name.hex() for name in HASHES]}
    requests = [("GET", f"/v1/blocks/{ns}/{one}", None), ("GET", f"/v1/blocks/{encoding}/{one}", None),
                ("HEAD", f"/v1/blocks/{encoding}/{one}", None), ("GET", f"/v1/namespaces/{ns}", None),
                ("POST", "/v1/namespaces", {"encoding": encoding}), ("POST", "/v1/match", {"namespaces": [encoding], **several}),
                ("POST", "/v1/locate", {"namespace": encoding, **several}), ("POST", "/v1/pin", {"namespace": encoding, "seconds": 5, **several}),
                ("PUT", f"/v1/blocks/{encoding}/{one}", bytes(SIZE)), ("DELETE", f"/v1/blocks/{encoding}/{one}", None),
                ("POST", "/v1/expire", {"namespace": encoding, "seconds": 5, **several}), ("DELETE", f"/v1/blocks/{encoding}", None),
                ("GET", "/metrics", None), ("GET", "/admin/stats", None), ("GET", "/admin/tenants", None), ("GET", "/admin/tenants/acme", None),
                ("PUT", "/admin/tenants/acme", {"secret": SECRETS["evil"] + "!"}), ("DELETE", "/admin/tenants/acme", None)]

    def ask(method, path, body):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        for patience in range(10, -1, -1):
            try:
                return (f"{method} {path}", *http(silo, path, token, method, data, kind))
            except OSError:
                # Cut off before it has proved itself, when the machine is slow. What is refused may be asked again.
                if not patience:
                    raise
    return at_once(*[partial(ask, *request) for request in requests])  # wrong tokens are answered late


@pytest.mark.parametrize("who", ["none", "empty", "evil", "cluster", "all but the last letter"])
def test_http_gives_nothing_without_the_right_token(silo, who):
    token = {"none": None, "empty": "", "evil": SECRETS["evil"], "cluster": CLUSTER_SECRET}.get(who, SECRETS["acme"][:-1])
    for what, status, body in _everything_over_http(silo, token):
        assert status in (401, 403, 404), f"{what}: {status} {body[:200]!r}"
        assert BLOCKS[0][:64] not in body


def test_http_views_of_a_tenant_do_not_tell_of_another(silo):
    status, stats = http(silo, "/v1/stats", SECRETS["evil"])
    assert status == 200 and b"acme" not in stats and b"secret-model" not in stats
    assert http(silo, "/readyz")[1] == b'{"ready":true}'


def test_lm_on_loopback_asks_for_no_proof_and_shows_its_own_tenant_alone(silo):
    # The line that stays: LMCache's protocol has no proof, so that the port is one tenant's and on loopback only.
    for key in b"k", HASHES[0], HASHES[0].hex().encode():
        with socket.create_connection(door(silo, "lm"), 20) as lm:
            lm.sendall(struct.pack("<9I", 2, 0, 0, 0, 0, 0, 0, 0, 0) + key.ljust(150))  # get
            assert BLOCKS[0][:64] not in drain(lm, 1)[1]


@pytest.mark.parametrize("what", ["arena", "socket"])
def test_files_are_the_owners_alone(silo, what):
    path = Path(silo.ready["arenaPath"] if what == "arena" else silo.unix[len("unix:"):])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.geteuid() or not shutil.which("setpriv") or what == "socket":
        return
    other = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", str(path)], capture_output=True)
    assert other.returncode and not other.stdout


NOISE = {"tls": b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03" + bytes(185), "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(200),
         "zeros": bytes(4 * KIB), "ones": b"\xff" * 4 * KIB, "lines": b"\r\n" * 2000, "a native hello": b"", "orleans": b"\x10\0\0\0" + bytes(500)}


@pytest.mark.parametrize("what", NOISE)
def test_noise_at_any_door_ends_the_connection_and_gets_no_answer_worth_having(silo, what):
    def make(name):
        with stranger(silo, name) as noise:
            noise.sendall(NOISE[what] or struct.pack("<IBBHQIIQ", 0x3143564B, 1, 0, 0, 1, 4096, 0, 1 << 60))
            return (name, *drain(noise, 3 if name == "lm" else 30))
    for name, ended, got in at_once(*[partial(make, name) for name in doors(silo)]):
        # LMCache has no proof: what has said nothing there keeps a place until somebody wants it.
        assert ended or name == "lm", f"{what} at {name} is open after 30 s"
        assert len(got) < 2 * KIB, f"{what} at {name} got {got[:200]!r}"


def test_orleans_ports_take_no_proof_of_another_port_and_no_replay(silo):
    for name, number in (("silo", 1), ("gateway", 2)):
        if name not in doors(silo):
            continue
        for tenant, secret in (("", ""), ("", SECRETS["acme"]), ("acme", CLUSTER_SECRET), ("nobody", ""), ("acme", SECRETS["evil"])):
            nonce, who = os.urandom(32), tenant.encode()
            with socket.create_connection(door(silo, name), 20) as peer:
                peer.sendall(b"KVCDOOR1" + bytes([number]) + struct.pack("<H", len(who)) + nonce + who)
                challenge = peer.recv(32, socket.MSG_WAITALL)
                signed = b"kvcache.orleans.peer.v1" + bytes([number]) + nonce + challenge + who
                proof = hmac.digest(secret.encode(), signed, "sha256")
                peer.sendall(proof)
                assert drain(peer, 30) == (True, b"\0"), (name, tenant)
            with socket.create_connection(door(silo, name), 20) as again:
                again.sendall(b"KVCDOOR1" + bytes([number]) + struct.pack("<H", len(who)) + nonce + who + proof)
                assert drain(again, 30)[1][32:] == b"\0"


def test_a_closed_gateway_has_no_other_door():
    with start() as silo:
        assert "gateway" not in doors(silo)
        with socket.create_connection(door(silo, "silo"), 20) as peer:
            peer.sendall(b"KVCDOOR1\x02" + struct.pack("<H", 4) + os.urandom(32) + b"acme")
            assert drain(peer, 30) == (True, b"")


@pytest.mark.parametrize("method,body", [("PUT", b'{"disabled":true}'), ("DELETE", None)])
def test_all_connections_of_a_tenant_that_is_disabled_or_deleted_end(silo, method, body):
    secret = SECRETS["temporary"] = "a secret of a temporary tenant"
    path = "/admin/tenants/temporary"
    assert http(silo, path, ADMINISTRATOR, "PUT", json.dumps({"secret": secret, "disabled": False}).encode())[0] == 200
    peers = [Peer(silo, "temporary"), Peer(silo, "temporary", unix=True)]
    peers[1].ask(MAP_ARENA, struct.pack("<Q", 1 << 20))
    sockets = [*(peer._connection._socket for peer in peers), Resp(silo, "temporary").socket, subscriber(silo, "temporary")]
    assert http(silo, "/v1/stats", secret)[0] == 200

    assert http(silo, path, ADMINISTRATOR, method, body)[0] == 200

    assert all(drain(connection, 30)[0] for connection in sockets)
    assert status_of(lambda: Peer(silo, "temporary")) == Status.NOT_AUTHENTICATED
    assert http(silo, "/v1/stats", secret)[0] == 401
    assert str(Resp(silo)("AUTH", "temporary", secret)).startswith("-")
    for connection in sockets:
        connection.close()
    SECRETS.pop("temporary")


def test_offsets_and_leases_of_shared_memory_that_are_not_ones_own(silo):
    with Peer(silo, "acme", unix=True) as acme, Peer(silo, unix=True) as evil, Peer(silo, unix=True) as unmapped:
        segment = 1 << 20
        evil.ask(MAP_ARENA, struct.pack("<Q", segment))
        handle, one = evil.open(space("evil")).handle, names(500, 1)
        for offset in (1 << 63, (1 << 64) - SIZE, segment, segment - SIZE + 1, (1 << 63) - 1):
            assert status_of(lambda: evil.ask(PUT_MAPPED, struct.pack("<Q", offset) + put_meta(handle, one))) == Status.OUT_OF_BOUNDS, hex(offset)
        assert status_of(lambda: evil.ask(PUT_MAPPED, bytes(8) + put_meta(handle, names(500, 17)))) == Status.OUT_OF_BOUNDS
        unmapped.open(space("evil"))
        assert status_of(lambda: unmapped.ask(PUT_MAPPED, bytes(8) + put_meta(0, one))) == Status.OUT_OF_BOUNDS

        # A lease is the process's; another process releases nothing.
        acme.ask(MAP_ARENA, bytes(8))
        lease, count = struct.unpack_from("<QI", acme.ask(GET_MAPPED, struct.pack(
            "<IBI", acme.open(THEIRS).handle, 2, len(HASHES)) + b"".join(HASHES)))
        assert count == len(HASHES)
        tests = Path(__file__).resolve().parent
        other = subprocess.run([sys.executable, "-c", RELEASER, str(tests), str(tests.parent), silo.unix, str(lease)],
                               capture_output=True, text=True, check=True)
        assert other.stdout.strip() == "0"
        assert acme.release(lease)


RELEASER = """
import struct, sys
sys.path[:0] = sys.argv[1:3]
from harness.attack import MAP_ARENA, Peer
class Silo: unix = sys.argv[3]
peers = [Peer(Silo, "evil", unix=True) for _ in range(2)]
peers[0].ask(MAP_ARENA, bytes(8))
print(sum(peer.release(int(sys.argv[4]) + near) for peer in peers for near in range(-2, 3)))
"""

CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root gives files away, and setpriv becomes another user")
def test_a_group_that_is_named_may_connect_and_map_and_nobody_else():
    group, engine, other = 65533, 65532, 65531
    with start(settings={"DataPlane:UnixMode": "0660", "DataPlane:UnixGroup": str(group), "Arena:Mode": "0640", "Arena:Group": str(group)}) as silo:
        arena, path = Path(silo.ready["arenaPath"]), Path(silo.unix[len("unix:"):])
        path.parent.chmod(0o755)
        assert [(stat.S_IMODE(file.stat().st_mode), file.stat().st_gid) for file in (path, arena)] == [(0o660, group), (0o640, group)]

        def may(user: int, *words: str) -> bool:
            """Whether a program of a user ends well; of the two users only the engine's is a member of the group."""
            become = ["setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(group if user == engine else user)]
            return subprocess.run([*become, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        for user in engine, other:
            assert may(user, "/usr/bin/python3", "-c", CONNECT, str(path)) == (user == engine)
            assert may(user, "head", "-c", "4096", str(arena)) == (user == engine)
            assert not may(user, "dd", "if=/dev/zero", f"of={arena}", "bs=1", "count=1", "conv=notrunc")
        silo.assert_healthy()


@pytest.mark.parametrize("setting,value", [("DataPlane:UnixMode", "0888"), ("Arena:Mode", "rw"), ("DataPlane:UnixGroup", "no-such-group")])
def test_a_mode_or_a_group_that_does_not_exist_ends_the_start_with_a_sentence(setting, value):
    with pytest.raises(AssertionError, match=setting) as failure:
        start(settings={setting: value})
    assert value in str(failure.value)


def test_a_name_that_a_stranger_chose_writes_no_line_into_the_log(silo):
    with pytest.raises(KvCacheError):
        Peer(silo, "x\ninfo: KvCache.Audit[0]\n forged", "a wrong secret of somebody").open(space("evil"))
    eventually("it is told", lambda: "for tenant 'x?info: KvCache.Audit[0]? forged'" in silo.log)
