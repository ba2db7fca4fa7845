"""Calls of redis-py that docs/engines/redis.md promises. Usage: redis_py.py PORT"""
import sys

import redis

client = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
client.delete("py:a", "py:b", "py:h", "py:n", "py:lock")

assert client.set("py:a", "1", ex=100) and client.get("py:a") == "1" and 90 <= client.ttl("py:a") <= 100
assert client.getex("py:a", persist=True) == "1" and client.ttl("py:a") == -1
assert client.touch("py:a") == 1 and client.getdel("py:a") == "1" and client.get("py:a") is None
assert client.incr("py:n", 5) == 5 and client.decr("py:n") == 4
assert client.hset("py:h", mapping={"f": "1", "g": "2"}) == 2 and client.hgetall("py:h") == {"f": "1", "g": "2"}
assert client.hmget("py:h", "g", "none") == ["2", None] and client.hdel("py:h", "f") == 1 and client.type("py:h") == "hash"

# Its pipelines are transactions unless they are told otherwise.
with client.pipeline() as pipeline:
    pipeline.set("py:a", "1").set("py:b", "2").mget("py:a", "py:b")
    assert pipeline.execute() == [True, True, ["1", "2"]]


def add(pipeline):
    value = int(pipeline.get("py:b"))
    pipeline.multi()
    pipeline.set("py:b", value + 1)


client.transaction(add, "py:b")
assert client.get("py:b") == "3"

lock = client.lock("py:lock", timeout=30)
assert lock.acquire(blocking=False) and lock.locked() and lock.owned()
assert not client.lock("py:lock", timeout=30).acquire(blocking=False)
assert lock.extend(60) and client.ttl("py:lock") > 60 and lock.reacquire() and client.ttl("py:lock") <= 30
lock.release()
assert not lock.locked()

client.client_setname("py")
assert any(each["name"] == "py" for each in client.client_list()) and client.client_info()["name"] == "py"
assert client.memory_usage("py:a") > 0 and client.object("refcount", "py:a") == 1
assert "py:a" in client.scan_iter("py:*") and client.command_count() > 50
client.delete("py:a", "py:b", "py:h", "py:n")
print("ok")
