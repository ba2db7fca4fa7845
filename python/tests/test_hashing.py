"""Hashes and namespace ids against the vectors that docs/hashing.md publishes."""
import re
import unittest
from dataclasses import replace
from pathlib import Path

from kvcache import (CHAIN_ROOT, DataType, Namespace, OpaqueLayout, StructuredLayout, engine_key_hash, prefix_chain,
                     text_hash)
from kvcache.hashing import tenant_id

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "hashing.md"
LAYOUT = StructuredLayout(16, 2, 1, 4, DataType.FLOAT16)
ACME = Namespace("m", LAYOUT, tenant="acme", revision="r1", tp_rank=1, tp_size=2, salt="s")


class Vectors(unittest.TestCase):
    """One computation for every row of the document's table: a row that nobody computes is a failure."""

    COMPUTED = {
        "h₀": lambda: CHAIN_ROOT,
        "h₁ of tokens 0..15 (16 tokens per block)": lambda: prefix_chain(range(16), 16)[0],
        "h₂ of tokens 0..31": lambda: prefix_chain(range(32), 16)[1],
        'text "Hello", part 0': lambda: text_hash("Hello"),
        'text "Grüße", part 3': lambda: text_hash("Grüße", 3),
        "engine key 00 01 02 ff, group 1": lambda: engine_key_hash(b"\x00\x01\x02\xff", 1),
        "namespace id of tenant `acme`, model `m`, revision `r1`, no LoRA, rank 1 of 2, salt `s`, layout 2 layers, "
        "1 head, dim 4, float16, 16 tokens per block, K and V":
            lambda: ACME.id,
        "the same with number format `fp8_e4m3` and the fields `rope` (empty) and `scales` = `k=0.5,v=2`":
            lambda: replace(ACME, number_format="fp8_e4m3", fields={"scales": "k=0.5,v=2", "rope": ""}).id,
        "tenant id of `acme`": lambda: tenant_id("acme"),
    }

    def test_document(self) -> None:
        vectors = DOCUMENT.read_text("utf-8").partition("## Vectors")[2]
        rows = dict(re.findall(r"^\| (.+) \| `([0-9a-f]+)` \|$", vectors, re.MULTILINE))
        self.assertEqual(set(self.COMPUTED), set(rows))
        for what, compute in self.COMPUTED.items():
            with self.subTest(what):
                self.assertEqual(rows[what], compute().hex())


class Chains(unittest.TestCase):
    def test_rest_has_no_hash(self) -> None:
        self.assertEqual([], prefix_chain(range(15), 16))
        self.assertEqual(prefix_chain(range(32), 16), prefix_chain(range(47), 16))

    def test_continues(self) -> None:
        whole = prefix_chain(range(64), 16)
        self.assertEqual(whole[2:], prefix_chain(range(32, 64), 16, previous=whole[1]))

    def test_common_prefix_ends_with_the_first_difference(self) -> None:
        one, other = prefix_chain(range(64), 16), prefix_chain([*range(40), 7, *range(41, 64)], 16)
        self.assertEqual([True, True, False, False], [a == b for a, b in zip(one, other)])

    def test_engine_key_bounds(self) -> None:
        for length in (0, 257):
            with self.assertRaises(ValueError):
                engine_key_hash(bytes(length))


class Namespaces(unittest.TestCase):
    def test_every_field_counts(self) -> None:
        variants = [Namespace("m", LAYOUT), Namespace("n", LAYOUT), Namespace("m", LAYOUT, tenant="t"),
                    Namespace("m", LAYOUT, revision="x"), Namespace("m", LAYOUT, lora="x"),
                    Namespace("m", LAYOUT, salt="x"), Namespace("m", LAYOUT, tp_size=2),
                    Namespace("m", LAYOUT, tp_rank=1, tp_size=2), Namespace("m", OpaqueLayout(16, LAYOUT.layer_ends)),
                    Namespace("m", StructuredLayout(16, 2, 1, 4, DataType.BFLOAT16)),
                    *(Namespace("m", LAYOUT, number_format=name) for name in ("fp8_e4m3", "fp8_e5m2", "int4_per_token_head", "nvfp4")),
                    *(Namespace("m", LAYOUT, fields=fields) for fields in (
                        {"a": ""}, {"a": "b"}, {"ab": ""}, {"a": "", "b": ""}, {"b": "a"}, {"a": "b", "c": "d"}, {"a": "bc", "d": ""}))]
        self.assertEqual(len(variants), len({namespace.id for namespace in variants}))

    def test_fields_have_no_order_and_bounds(self) -> None:
        one, other = (Namespace("m", LAYOUT, fields=fields) for fields in ({"a": "1", "b": "2"}, (("b", "2"), ("a", "1"))))
        self.assertEqual((one, one.id, hash(one)), (other, other.id, hash(other)))
        for fields in ({str(i): "" for i in range(65)}, (("a", "1"), ("a", "2")), {"": "x"}, {"a": "x" * 257}):
            with self.assertRaisesRegex(ValueError, "fields: "):
                Namespace("m", LAYOUT, fields=fields)

    def test_layer_ends(self) -> None:
        self.assertEqual((256, 512), LAYOUT.layer_ends)
        self.assertEqual((64,), StructuredLayout(16, 1, 1, 4, DataType.FLOAT8_E5M2, parts=1).layer_ends)


if __name__ == "__main__":
    unittest.main()
