"""``python -m kvcache``: asks a silo for its state, and reads and stores bytes under a text."""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from .buffers import view_of
from .cache import Cache
from .hashing import DataType
from .options import CacheOptions, endpoint_list
from .tensors import Tensor
from .texts import TextCache
from .tls import Tls
from .version import VERSION

#: Exit codes: what was wanted is done; it is not stored, or nobody could say; the arguments cannot be.
OK, MISS, WRONG = 0, 1, 2
_NOTHING = Tensor(DataType.UINT8, (0,), b"")


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command and returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        with Cache(options=_options(given)) as cache:
            code = given.run(cache, given)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # Whoever reads has had enough. What is left is not to be told at the end of the interpreter either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ValueError, OSError) as error:
        print(f"kvcache: {error}", file=sys.stderr)
        return WRONG


def status(cache: Cache, given: argparse.Namespace) -> int:
    """Prints what the tenant has on each silo."""
    code, answers = OK, []
    for endpoint in cache.options.endpoints:
        with Cache(endpoint, options=cache.options) as one:
            began = time.perf_counter()
            facts = one.stat(given.timeout)
            milliseconds = (time.perf_counter() - began) * 1000
            answer: Dict[str, Any] = {"endpoint": endpoint, "answers": facts is not None}
            if facts is None:
                code, answer["failure"] = MISS, one.statistics.last_failure
            else:
                answer.update(milliseconds=round(milliseconds, 2), tenant=one.tenant, stat=facts)
            answers.append(answer)
    if given.json:
        print(json.dumps(answers, indent=2))
        return code
    for answer in answers:
        if not answer["answers"]:
            print(f"{answer['endpoint']}: no answer: {answer['failure']}")
            continue
        print(f"{answer['endpoint']}: answers in {answer['milliseconds']} ms, tenant {answer['tenant']}")
        for name, value in _flat("", answer["stat"]):
            print(f"  {name}: {value}")
    return code


def put(cache: Cache, given: argparse.Namespace) -> int:
    """Stores the bytes of a file under a text."""
    data = sys.stdin.buffer.read() if given.file == "-" else _read(given.file)
    tensor = Tensor(DataType.UINT8, (len(data),), data)
    if _texts(cache, given).cache_kv(given.text, given.layer, tensor, _NOTHING, given.ttl, given.timeout):
        print(f"{len(data)} bytes are stored", file=sys.stderr)
        return OK
    print(f"kvcache: it is not stored: {cache.statistics.last_failure or 'there is no room'}", file=sys.stderr)
    return MISS


def get(cache: Cache, given: argparse.Namespace) -> int:
    """Writes what is stored under a text to a file."""
    found = _texts(cache, given).get_cached_kv(given.text, given.layer, given.timeout)
    if found is None:
        print(f"kvcache: {cache.statistics.last_failure or 'it is not stored'}", file=sys.stderr)
        return MISS
    if given.file == "-":
        sys.stdout.buffer.write(view_of(found.k.data))
        sys.stdout.buffer.flush()
    else:
        with open(given.file, "wb") as file:
            file.write(view_of(found.k.data))
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m kvcache", description="Asks silos, and reads and stores bytes under a text.")
    parser.add_argument("--version", action="version", version=f"kvcache {VERSION}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--endpoint", action="append", metavar="ADDRESS",
                        help="tcp:host:port, tls:host:port or unix:path, repeated for several (KVCACHE_ENDPOINT)")
    common.add_argument("--tenant", default=os.environ.get("KVCACHE_TENANT", "default"), help="(KVCACHE_TENANT)")
    common.add_argument("--secret-file", default="", metavar="FILE", help="file with the tenant's secret; else KVCACHE_SECRET has it")
    common.add_argument("--tls-ca", default="", metavar="FILE", help="PEM with the authorities to trust at tls: endpoints")
    common.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="most time of the whole call (5)")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("status", parents=[common], help="what the tenant has on each silo")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=status)
    for name, run, text, file in (("put", put, "store the bytes of a file under a text", "what to store"),
                                  ("get", get, "write what is stored under a text", "where to write it")):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("text", help="the text")
        command.add_argument("file", nargs="?", default="-", help=f"{file}; - for the standard stream")
        command.add_argument("--model", default="values", help="the model that the bytes are of (values)")
        command.add_argument("--layer", type=int, default=0, help="the layer that they are of (0)")
        if name == "put":
            command.add_argument("--ttl", type=float, default=0, metavar="SECONDS", help="their life; 0 for as long as memory lasts")
        command.set_defaults(run=run)
    return parser


def _options(given: argparse.Namespace) -> CacheOptions:
    if not given.timeout > 0:
        raise ValueError(f"--timeout: seconds, more than 0, were expected, and is {given.timeout}")
    endpoints = given.endpoint or endpoint_list(os.environ.get("KVCACHE_ENDPOINT", "tcp:127.0.0.1:7400"))
    secret = "" if given.secret_file else os.environ.get("KVCACHE_SECRET", "")
    # Somebody waits for the answer, so each part may take as long as the whole.
    return CacheOptions(tuple(endpoints), given.tenant, secret.encode(), given.secret_file, Tls(ca=given.tls_ca) if given.tls_ca else None,
                        connect_timeout=given.timeout, match_timeout=given.timeout)


def _texts(cache: Cache, given: argparse.Namespace) -> TextCache:
    return TextCache(cache, given.model, tensors="bytes")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _flat(prefix: str, value: Any) -> List[Tuple[str, Any]]:
    """The facts of a JSON object in a row, by their path."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [pair for name, inner in value.items() for pair in _flat(f"{prefix}.{name}" if prefix else str(name), inner)]


if __name__ == "__main__":
    sys.exit(main())
