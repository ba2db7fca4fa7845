# %% [markdown]
# # Part 3 in Python: what a block is made of
#
# [Part 1](part1.ipynb) kept blocks in a dictionary. Here they go to a silo, and we look at their
# bytes and names. It is [part 3](../../docs/notebook/part3.md) over the Python package.
#
# It needs numpy, and a silo at `KVCACHE_ENDPOINT` or on this machine:
# `KVCACHE_ENDPOINT=tcp:127.0.0.1:7400 PYTHONPATH=python python3 python/notebooks/part3.py`.
# %%
import os

import numpy as np
from harbor import Harbor, QUESTIONS, prompt
from kvcache import Cache, DataType, Namespace, StructuredLayout, prefix_chain

model = Harbor()
tokens = prompt(QUESTIONS[0])
scores, kv = model.forward(tokens)
print(f"[layers, keys and values, tokens, heads, numbers] = {list(kv.shape)}, {kv.dtype}")

# %% [markdown]
# ## The layout
# A silo is told the shape of a block, so that it can check and serve single layers. Layers come
# first: a run of layers is one piece of memory.
# %%
layout = StructuredLayout(16, model.layers, model.kv_heads, model.head_dim, DataType.FLOAT32)
space = Namespace("harbor in numpy", layout, salt="notebook, part 3")
print(f"a block has {layout.layer_ends[-1]} bytes; its layers end at {layout.layer_ends}")

# %% [markdown]
# ## Names
# A name stands for the whole beginning: change one token, and all names from there on are others.
# %%
hashes = prefix_chain(tokens, 16)
changed = prefix_chain([*tokens[:100], tokens[100] ^ 1, *tokens[101:]], 16)
for i in range(5, 8):
    print(f"block {i}: {hashes[i].hex()[:12]}  {changed[i].hex()[:12]}  {'same' if hashes[i] == changed[i] else 'other'}")
print(f"another model is another namespace: {Namespace('fine-tuned', layout).id != space.id}")

# %% [markdown]
# ## To a silo and back
# `put` takes any buffer, numpy's too. `get` fills buffers in place. Whatever goes wrong is a miss,
# never an exception.
# %%
blocks = [np.ascontiguousarray(kv[:, :, 16 * i:16 * i + 16]) for i in range(len(hashes))]
with Cache(os.environ.get("KVCACHE_ENDPOINT", "tcp:127.0.0.1:7400")) as cache:
    cache.clear(space)  # begin with nothing
    outcomes = cache.put(space, hashes, blocks)
    print(f"{sum(outcome.name == 'STORED' for outcome in outcomes)} blocks stored")
    loaded = [np.zeros_like(blocks[0]) for _ in hashes]
    with cache.match(space, hashes, hold_ms=5000) as found:
        hits = cache.get(space, hashes[:found.count], loaded[:found.count])
    print(f"{found.count} found, {sum(hits)} loaded, the same bytes: {all((a == b).all() for a, b in zip(loaded, blocks))}")

# %% [markdown]
# ## The same numbers with and without the cache
# %%
resumed = np.concatenate(loaded, axis=2)
others, _ = model.forward(tokens[resumed.shape[2]:], resumed)
difference = np.abs(scores - others).max()
print(f"largest difference of {len(scores)} scores: ≈ {difference:.7f}; below a thousandth: {difference < 1e-3}")
answer = model.answer(tokens)
print(f"without: {answer}")
print(f"with:    {model.answer(tokens, resumed)}")
print(f"zeros change the answer: {model.answer(tokens, np.zeros_like(resumed)) != answer}")

# %% [markdown]
# (Lantern carries silk by the list. The model is tiny, and mixes rows up: with a cache as
# without.)
