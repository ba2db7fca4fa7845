"""Silo processes of a test: the program that KVCACHE_SILO_DLL names, started with ``dotnet`` (or what KVCACHE_DOTNET says)."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import pytest

DLL = os.environ.get("KVCACHE_SILO_DLL", "")
DOTNET = os.environ.get("KVCACHE_DOTNET", "dotnet")
needs_silo_program = pytest.mark.skipif(not DLL, reason="KVCACHE_SILO_DLL is not set: no silo processes to start")
#: How long a silo may take to be ready; only a hang reaches it.
START_SECONDS = 60


class SiloProcess:
    """A silo that the test starts, kills and starts again. Everything it writes is in a folder that goes with it."""

    def __init__(self, arena: str = "64MiB", tenants: Optional[Dict[str, str]] = None, port: int = 0,
                 cluster: Optional["SiloProcess"] = None, is_first: bool = False, unix: bool = False,
                 settings: Optional[Mapping[str, str]] = None, arguments: Sequence[str] = ()):
        """``settings`` are configuration by key, as in ``DataPlane:MaxHold``; ``arguments`` further command line; ``{folder}`` in
        them is the silo's own folder."""
        self._folder = Path(tempfile.mkdtemp(prefix="kvcache-silo-"))
        self._environment = {**os.environ, **{f"KvCache__Tenants__{name}__Secret": secret for name, secret in (tenants or {}).items()},
                             **{"KvCache__" + key.replace(":", "__"): value.replace("{folder}", str(self._folder))
                                for key, value in (settings or {}).items()}}
        self._arguments: List[str] = ["--arena", arena, "--http", "http://127.0.0.1:0", "--silo-port", "0",
                                      "--ready-file", str(self._folder / "ready.json")]
        if is_first or cluster is not None:
            self._arguments += ["--cluster", "localhost"]
        if cluster is not None:
            self._arguments += ["--primary", str(cluster.silo_port)]
        self.unix = f"unix:{self._folder / 'data.sock'}" if unix else ""
        if unix:
            self._arguments += ["--unix", self.unix[len("unix:"):]]
        self._arguments += [argument.replace("{folder}", str(self._folder)) for argument in arguments]
        self._port = port
        self.start()

    def start(self) -> None:
        """Starts it, on the port it had before."""
        ready = self._folder / "ready.json"
        ready.unlink(missing_ok=True)
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen([DOTNET, DLL, *self._arguments, "--tcp", f"127.0.0.1:{self._port}"],
                                             env=self._environment, cwd=self._folder, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                facts = json.loads(ready.read_text())
                break
            except (OSError, ValueError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the silo did not start:\n{self.log}") from None
                time.sleep(0.02)
        self.endpoint = next(endpoint for endpoint in facts["endpoints"] if endpoint.startswith("tcp:"))
        self._port, self.silo_port = int(self.endpoint.rpartition(":")[2]), facts["siloPort"]
        #: What the silo says of itself: addresses, ports, process.
        self.ready: Dict[str, Any] = facts

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def assert_healthy(self) -> None:
        """Fails when it went or logged an error."""
        assert self._process.poll() is None, f"the silo has ended:\n{self.log}"
        for word in "fail:", "crit:", "unhandled":
            assert word not in self.log.lower(), f"the silo logged an error:\n{self.log}"

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def __enter__(self) -> "SiloProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def eventually(what: str, condition, seconds: float = 60.0):
    """Waits for a condition and returns its first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
