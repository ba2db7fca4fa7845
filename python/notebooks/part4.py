# %% [markdown]
# # Part 4 in Python: Redis, from ten lines to the real thing
#
# [Part 4](../../docs/notebook/part4.md) over redis-py: begins with the simplest cache that could
# work, and ends with `RedisCache`.
#
# It needs numpy, redis-py and a Redis at `REDIS_URL` or on this machine:
# `REDIS_URL=redis://127.0.0.1:6379/0 PYTHONPATH=python python3 python/notebooks/part4.py`.
# %%
import os
import zlib

import numpy as np
import redis
from harbor import Harbor, QUESTIONS, prompt
from kvcache import DataType, Namespace, RedisCache, RedisOptions, StructuredLayout, prefix_chain

url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
server = redis.Redis.from_url(url)
model = Harbor()
first, second = prompt(QUESTIONS[0]), prompt(QUESTIONS[1])
_, kv = model.forward(first)
print(f"{len(first)} tokens, {kv.nbytes} bytes of KV")

# %% [markdown]
# ## First: the prompt is the key
# %%
server.set(bytes(first), kv.tobytes())
print(f"the same prompt: {server.exists(bytes(first))}, another question: {server.exists(bytes(second))}")

# %% [markdown]
# ## Second: blocks, and a chain of names
# One value a block; a lookup counts those that are there without a gap.
# %%
def count(tokens, before=b""):
    with server.pipeline(transaction=False) as questions:
        for name in prefix_chain(tokens, 16):
            questions.exists(before + name)
        answers = questions.execute()
    return answers.index(0) if 0 in answers else len(answers)


blocks = [np.ascontiguousarray(kv[:, :, 16 * i:16 * i + 16]) for i in range(len(first) // 16)]
for name, block in zip(prefix_chain(first, 16), blocks):
    server.set(name, block.tobytes())
print(f"another question: {count(second)} of {len(second) // 16} blocks are there")

# %% [markdown]
# ## Third: whose KV is it?
# Another model has the same tokens, so the same names. Its answers would be computed from our
# numbers, and nobody would see it. Keys begin with a namespace.
# %%
layout = StructuredLayout(16, model.layers, model.kv_heads, model.head_dim, DataType.FLOAT32)
ours, theirs = Namespace("harbor in numpy", layout), Namespace("fine-tuned", layout)
print(f"without namespaces another model finds {count(first)} blocks of ours")
print(f"with namespaces it finds {count(first, theirs.id)}")

# %% [markdown]
# ## Fourth: are these the bytes that were stored?
# %%
def check(value):
    return "a hit" if zlib.crc32(value[4:]).to_bytes(4, "little") == value[:4] else "a miss"


payload = blocks[0].tobytes()
server.set("checked", zlib.crc32(payload).to_bytes(4, "little") + payload)
print(f"as it was stored:       {check(server.get('checked'))}")
server.setrange("checked", 1000, b"oops")
print(f"four bytes overwritten: {check(server.get('checked'))}")

# %% [markdown]
# ## The real one
# `RedisCache` does all that, gives values a life, stores float32 as float16 where you allow it,
# and is a miss instead of an exception when Redis is away. Its calls are those of `Cache`, which
# talks to silos.
# %%
hashes = prefix_chain(first, 16)
with RedisCache(url, options=RedisOptions(narrowed="float16")) as cache:
    cache.clear(ours)
    print(f"stored: {sum(outcome.name == 'STORED' for outcome in cache.put(ours, hashes, blocks))} of {len(hashes)} blocks")
    loaded = [np.zeros_like(blocks[0]) for _ in hashes]
    print(f"loaded: {sum(cache.get(ours, hashes, loaded))}, another question finds {cache.match(ours, prefix_chain(second, 16)).count}")
    resumed = np.concatenate(loaded, axis=2)
    print(f"largest error of float16: ≈ {np.abs(resumed - kv[:, :, :resumed.shape[2]]).max():.4f}")
    print(f"the same answer: {model.answer(first, resumed) == model.answer(first)}")

with RedisCache("redis://127.0.0.1:1/0") as nobody:
    print(f"no Redis: {nobody.match(ours, hashes).count} blocks")

# %% [markdown]
# What no client of Redis can mend is that a full one forgets beginnings before ends
# ([part 4](../../docs/notebook/part4.md)).
