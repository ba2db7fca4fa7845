"""Stores and reads a block through a port with TLS: ENDPOINT CA CERTIFICATE KEY OTHER_CA."""
import sys

from kvcache import Cache, CacheOptions, Client, KvCacheError, Namespace, OpaqueLayout, Outcome, Tls, prefix_chain

endpoint, ca, certificate, key, other_ca = sys.argv[1:]
space = Namespace("tls", OpaqueLayout(16, (1000, 3_000_000)), tenant="acme")
hashes = prefix_chain(list(range(16)), 16)
block = bytes(i % 251 for i in range(3_000_000))

# The certificate stands for the tenant: no secret.
options = CacheOptions.from_mapping({"endpoints": endpoint, "tenant": "acme", "tls_ca": ca, "tls_certificate": certificate,
                                     "tls_key": key, "connect_timeout": 30, "match_timeout": 30, "load_timeout": 30})
with Cache(options=options) as cache:
    assert cache.put(space, hashes, [block]) == [Outcome.STORED], cache.statistics
    buffer = bytearray(len(block))
    assert cache.get(space, hashes, [buffer]) == [True], cache.statistics
    assert buffer == block

for name, tls in (("authority", Tls(other_ca, certificate=certificate, key=key)),
                  ("name", Tls(ca, "cache.example", certificate, key)),
                  ("no certificate", Tls(ca))):
    try:
        Client(endpoint, "acme", timeout=30, tls=tls)
    except KvCacheError as error:
        print(name, "is refused:", error)
    else:
        raise AssertionError(f"{name} was accepted")
try:
    Tls(ca="/nowhere/ca.pem")
except ValueError as error:
    print(error)
else:
    raise AssertionError("a CA that is not there was accepted")
print("python speaks tls")
