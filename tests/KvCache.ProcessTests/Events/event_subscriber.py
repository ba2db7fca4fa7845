"""Subscribes to KV events at an address, as a tenant with its secret or as nobody, and prints each message as a line of JSON; bytes as
"hex:…"."""
import json
import sys

import msgpack
import zmq


def encode(value):
    if isinstance(value, bytes):
        return "hex:" + value.hex()
    raise TypeError(type(value))


socket = zmq.Context().socket(zmq.SUB)
if len(sys.argv) > 3:
    socket.plain_username, socket.plain_password = sys.argv[3].encode(), sys.argv[4].encode()
socket.setsockopt(zmq.SUBSCRIBE, sys.argv[2].encode())
socket.connect(sys.argv[1])
while True:
    topic, number, batch = socket.recv_multipart()
    print(json.dumps([topic.decode(), int.from_bytes(number, "big"), msgpack.unpackb(batch)], default=encode), flush=True)
