"""TLS towards silos: whom to trust, and what to show."""
from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any, Tuple

from .files import Kept, read_file


@dataclass(frozen=True)
class Tls:
    """How connections to ``tls:host:port`` are made. Files are read for every new connection, so that they may be replaced."""

    #: PEM with the authorities that are trusted; empty for those of the machine.
    ca: str = ""
    #: Name that the silos' certificates must have; empty for the host of the endpoint.
    server_name: str = ""
    #: PEM with the client's own certificate, and with its key where ``key`` is empty.
    certificate: str = ""
    #: PEM with the key of the certificate.
    key: str = ""

    def __post_init__(self) -> None:
        if self.key and not self.certificate:
            raise ValueError("tls_key: is set, and tls_certificate is empty")
        try:
            object.__setattr__(self, "_kept_context", Kept("tls", self._read_context))
        except OSError as error:
            raise ValueError(f"tls: {self.ca or self.certificate}: {error}") from error

    def __reduce__(self) -> Tuple[Any, ...]:  # a context cannot be pickled
        return Tls, (self.ca, self.server_name, self.certificate, self.key)

    def context(self) -> ssl.SSLContext:
        """Settings of one connection, of the files as they are now."""
        kept: Kept[ssl.SSLContext] = getattr(self, "_kept_context")
        return kept.now()

    def _read_context(self) -> ssl.SSLContext:
        for path in filter(None, (self.certificate, self.key)):
            read_file(path)  # ssl opens them itself, and would wait for a FIFO
        authorities = read_file(self.ca).decode("ascii", "ignore") if self.ca else None
        if authorities is not None and not authorities.strip():
            raise OSError(f"{self.ca!r} is empty")
        context = ssl.create_default_context(cadata=authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return context

    def wrap(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Agrees on keys, within the socket's timeout. ``OSError`` when the other side is not trusted."""
        return self.context().wrap_socket(connection, server_hostname=self.server_name or host)
