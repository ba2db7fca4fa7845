"""Publishes lines of standard input, each a batch as JSON, the way vLLM publishes KV events. The first line says where.

Strings of the form "hex:…" are sent as bytes.
"""
import json
import sys

import msgpack
import zmq


def decode(value):
    if isinstance(value, str) and value.startswith("hex:"):
        return bytes.fromhex(value[4:])
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        return {name: decode(item) for name, item in value.items()}
    return value


socket = zmq.Context().socket(zmq.PUB)
port = socket.bind_to_random_port("tcp://127.0.0.1")
print(port, flush=True)
for number, line in enumerate(sys.stdin):
    socket.send_multipart((b"kv", number.to_bytes(8, "big"), msgpack.packb(decode(json.loads(line)))))
