# %% [markdown]
# # Part 1 in Python: why traditional caching fails
#
# A language model reads a prompt before it answers (*prefill*), and computes a key and a value for
# every token in every layer: the *KV*. This part shows what is computed twice, and why a cache of
# answers does not help. It is [part 1](../../docs/notebook/part1.md) with numpy; the model is the
# same. Figures with the sign ≈ are different each time.
#
# It needs numpy, and no silo: `PYTHONPATH=python python3 python/notebooks/part1.py`.
# %%
import time

import numpy as np
from harbor import Harbor, QUESTIONS, prompt
from kvcache import prefix_chain

model = Harbor()
kv_of_a_token = model.layers * 2 * model.kv_heads * model.head_dim * 4
print(f"{model.layers} layers, {model.kv_heads} KV heads of {model.head_dim} numbers; the KV of a token has {kv_of_a_token} bytes")

# %% [markdown]
# ## What prefill costs
# The longer the prompt, the longer the prefill.
# %%
tokens = prompt(QUESTIONS[0])
for length in (80, 160, 320):
    times = []
    for _ in range(5):
        began = time.perf_counter()
        model.forward(tokens[:length])
        times.append(time.perf_counter() - began)
    print(f"{length:4} tokens: ≈ {1000 * sorted(times)[2]:.1f} ms")

# %% [markdown]
# ## A cache of answers
# Five requests with the same beginning; one user asks twice.
# %%
requests = [prompt(question) for question in (*QUESTIONS, QUESTIONS[0])]
answers, hits = {}, 0
for request in requests:
    hits += tuple(request) in answers
    answers[tuple(request)] = "(what the model says)"
print(f"{len(requests)} requests, {hits} hit")

# %% [markdown]
# ## What they share
# Prompts begin alike, and the KV of a token depends only on the tokens before it. So the KV of the
# common beginning is the same. We compute both, and compare.
# %%
first, second = requests[:2]
shared = next(i for i, (one, other) in enumerate(zip(first, second)) if one != other)
_, kv_of_first = model.forward(first)
_, kv_of_second = model.forward(second)
print(f"the first {shared} of {len(first)} and {len(second)} tokens are the same")
close = np.allclose(kv_of_first[:, :, :shared], kv_of_second[:, :, :shared], 1e-4, 1e-5)
print(f"their KV is the same within a hundred thousandth: {close}")

# %% [markdown]
# ## Blocks
# Cut the prompt into blocks, and name each by a hash over **all** tokens up to its end. Then the
# longest cached beginning is found by asking for one name after the other. The names are those of
# .NET: block 20 of this prompt has the same one there.
# %%
one, two = prefix_chain(first, 16), prefix_chain(second, 16)
equal = sum(1 for a, b in zip(one, two) if a == b)
print(f"{len(one)} blocks, the first {equal} have the same names in both")

# %% [markdown]
# A dictionary from names to KV is a cache of blocks:
# %%
blocks, asked, computed, same = {}, 0, 0, True
for request in requests:
    expected, _ = model.forward(request)
    hashes = prefix_chain(request, 16)
    found = next((i for i, name in enumerate(hashes) if name not in blocks), len(hashes))
    found = min(found, (len(request) - 1) // 16)  # the last token is always computed
    kv = np.concatenate([model.empty_kv(), *(blocks[name] for name in hashes[:found])], axis=2)
    scores, kv = model.forward(request[16 * found:], kv)
    for i, name in enumerate(hashes):
        blocks.setdefault(name, kv[:, :, 16 * i:16 * i + 16])
    asked, computed, same = asked + len(request), computed + len(request) - 16 * found, same and scores.argmax() == expected.argmax()
print(f"{asked} tokens were asked for, {computed} were computed: {100 * (asked - computed) / asked:.0f} % came from the cache")
print(f"the first token of every answer is the same: {same}")

# %% [markdown]
# A dictionary has no bound, no neighbours and no names of models. [Part 3](part3.ipynb) gives the
# blocks to a silo.
