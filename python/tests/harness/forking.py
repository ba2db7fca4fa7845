"""Children of this process, and what they say."""
import os
import pickle
import traceback
from typing import Any, Callable


class Child:
    """A forked child that runs a function; ``result`` waits for what it returned."""

    def __init__(self, function: Callable[[], Any], fork: Callable[[], int] = os.fork):
        self._reader, writer = os.pipe()
        self._pid = fork()
        if self._pid == 0:
            # Nothing of the test runner may run here, whatever happens.
            try:
                os.close(self._reader)
                try:
                    answer = (True, function())
                except BaseException:
                    answer = (False, traceback.format_exc())
                with os.fdopen(writer, "wb") as stream:
                    pickle.dump(answer, stream)
            finally:
                os._exit(0)
        os.close(writer)

    def result(self) -> Any:
        with os.fdopen(self._reader, "rb") as stream:
            data = stream.read()
        os.waitpid(self._pid, 0)
        is_fine, answer = pickle.loads(data)
        assert is_fine, answer
        return answer


class Barrier:
    """Lets the processes that were forked behind it begin at the same moment."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def wait(self) -> None:
        os.close(self._writer)
        os.read(self._reader, 1)  # ends when nobody has the other end any more
        os.close(self._reader)
