"""Stops code that does not end, and tells the user's interrupt from a KeyboardInterrupt that the code raises itself."""

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

IDLE = 10  # so many times the limit where nothing is computed


class TimeUp(BaseException):
    """Not an Exception: a learner's `except Exception` must not catch it."""


class Interrupts:
    """What has stopped the block of `watched()`.

    One way on all systems: a thread counts the time, and interrupts the main thread as ctrl-C does, even in a sleep.
    The handler knows which of the two it was. Outside the main thread there is no limit, and ctrl-C does not arrive.
    """

    def __init__(self, seconds: float):
        self.limit = seconds
        self.by_user = False
        self._running = self._time_is_up = False
        self._ended = threading.Event()
        self._forward: Callable[[int, FrameType | None], Any] = signal.default_int_handler

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Raises TimeUp in the block after `limit` seconds, both of the clock and of this process's CPU time: a busy
        machine stops nobody. Code that only waits may take ten times as long.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous):
            self._forward = previous
        elif previous is signal.SIG_IGN:
            self._forward = lambda number, frame: None
        timer = threading.Thread(target=self._count, args=(threading.get_ident(),), daemon=True)
        timer.start()
        try:
            signal.signal(signal.SIGINT, self._handle)
            self._running = True
            yield
        finally:
            self._running = False
            self._ended.set()
            timer.join()
            signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)

    def _count(self, main_thread: int) -> None:
        started, computed = time.monotonic(), time.process_time()
        while not self._ended.wait(min(1.0, self.limit / 10)):  # once is not enough: a bare `except:` may swallow it
            passed = time.monotonic() - started
            if passed > IDLE * self.limit or min(passed, time.process_time() - computed) > self.limit:
                self._time_is_up = True
                _interrupt(main_thread)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._time_is_up:
            if self._running:
                raise TimeUp
            return
        try:
            self._forward(number, frame)
        except KeyboardInterrupt:
            self.by_user = True
            raise


def _interrupt(main_thread: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        _thread.interrupt_main()  # on Windows it ends a sleep, too
