"""A Redis of a test."""
import shutil
import socket
import subprocess
import tempfile

from .silos import eventually


class RedisServer:
    """A Redis that the test starts and ends, with nothing on disk."""

    def __init__(self):
        self._folder = tempfile.mkdtemp(prefix="kvcache-redis-")
        self.path = f"{self._folder}/redis.sock"
        self.url = f"unix://{self.path}"
        self._process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--dir", self._folder],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> "RedisServer":
        eventually("Redis listens", self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listens(self) -> bool:
        assert self._process.poll() is None, "Redis has ended"
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self.path)
                return True
            except OSError:
                return False
