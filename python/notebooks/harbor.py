"""The small model of samples/QuickStart/model in numpy: Llama's architecture, float32, one sequence at a time.

For the notebooks. A token is a byte of ASCII. KV has the order of a cache block: [layers, keys and values, tokens, heads, numbers].
"""
import json
import struct
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "samples" / "QuickStart" / "model"

BEGINNING = (
    "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n"
    "- Osprey: pier 9, salt, from Lisbon\n- Marigold: pier 4, timber, from Riga\n- Kestrel: pier 21, copper, from Porto\n"
    "- Lantern: pier 17, silk, from Izmir\n- Juniper: pier 12, tea, from Dover\n- Heron: pier 28, grain, from Split\n"
)
QUESTIONS = ["What does Lantern carry?", "Where does Heron come from?", "What does Juniper carry?", "Where does Osprey come from?"]


def prompt(question):
    """Tokens of the list, and a question about it."""
    return list(f"{BEGINNING}User: {question}\nPilot: ".encode("ascii"))


class Harbor:
    """Weights and the forward pass (Touvron et al., 2023): RMS norms, rotary positions, grouped queries, SwiGLU."""

    def __init__(self, folder=FOLDER):
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self.layers, self.heads, self.kv_heads, self.head_dim = (
            config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"])
        self.epsilon, self.theta = config["rms_norm_eps"], config["rope_theta"]
        data = (folder / "model.safetensors").read_bytes()
        start = 8 + struct.unpack_from("<Q", data)[0]
        self.weights = {
            name: np.frombuffer(data[start + field["data_offsets"][0]:start + field["data_offsets"][1]], np.float16)
            .reshape(field["shape"]).astype(np.float32)
            for name, field in json.loads(data[8:start]).items() if name != "__metadata__"
        }

    def empty_kv(self):
        return np.zeros((self.layers, 2, 0, self.kv_heads, self.head_dim), np.float32)

    def forward(self, tokens, kv=None):
        """Computes tokens behind those of ``kv``. Returns the scores of the next token, and the KV of all."""
        kv = self.empty_kv() if kv is None else kv
        first, count = kv.shape[2], len(tokens)
        hidden = self.weights["model.embed_tokens.weight"][tokens]
        mask = np.where(np.arange(first + count)[None] <= np.arange(first, first + count)[:, None], 0, -np.inf).astype(np.float32)
        parts = []
        for layer in range(self.layers):
            weight = {name: self.weights[f"model.layers.{layer}.{name}.weight"] for name in (
                "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
            x = self._norm(hidden, weight["input_layernorm"])
            query = self._rotate((x @ weight["self_attn.q_proj"].T).reshape(count, self.heads, self.head_dim), first)
            key = self._rotate((x @ weight["self_attn.k_proj"].T).reshape(count, self.kv_heads, self.head_dim), first)
            value = (x @ weight["self_attn.v_proj"].T).reshape(count, self.kv_heads, self.head_dim)
            part = np.concatenate([kv[layer], np.stack([key, value])], axis=1)
            parts.append(part)
            keys, values = (np.repeat(part[i], self.heads // self.kv_heads, axis=1) for i in (0, 1))
            scores = query.transpose(1, 0, 2) @ keys.transpose(1, 2, 0) / np.float32(np.sqrt(self.head_dim)) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            hidden = hidden + (scores @ values.transpose(1, 0, 2)).transpose(1, 0, 2).reshape(count, -1) @ weight["self_attn.o_proj"].T
            x = self._norm(hidden, weight["post_attention_layernorm"])
            gate = x @ weight["mlp.gate_proj"].T
            hidden = hidden + (gate / (1 + np.exp(-gate)) * (x @ weight["mlp.up_proj"].T)) @ weight["mlp.down_proj"].T
        last = self._norm(hidden[-1], self.weights["model.norm.weight"])
        return last @ self.weights["model.embed_tokens.weight"].T, np.stack(parts).astype(np.float32)

    def answer(self, tokens, kv=None, most=40):
        """Continues a prompt, the likeliest token each time. ``kv`` is that of its first tokens."""
        scores, kv = self.forward(tokens[0 if kv is None else kv.shape[2]:], kv)
        text = []
        while len(text) < most and (token := int(scores.argmax())) != ord("\n"):
            text.append(token)
            scores, kv = self.forward([token], kv)
        return bytes(text).decode("ascii")

    def _norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * weight

    def _rotate(self, x, first):
        half = self.head_dim // 2
        angles = np.arange(first, first + len(x))[:, None] * self.theta ** (-np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.concatenate([x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin], -1).astype(np.float32)
