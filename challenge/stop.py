"""What ends a run early: Ctrl-C, SIGTERM and a closed terminal; an alarm for a batch without end.

The first signal asks to finish now with a valid file, a second Ctrl-C or SIGTERM ends at once.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from challenge.errors import StalledError

LOOK_EVERY_S, RAISE_AGAIN_S = 0.5, 5.0  # while something lasts that a signal is to end


@dataclass
class StopRequest:
    """Set by the first SIGINT, SIGTERM or SIGHUP: finish now with what there is.

    ``ended_by`` is the second one's number. It raises ``StopNow`` where it arrives; should a
    library swallow that, ``raise_if_ended`` raises it again.
    """

    signal_name: str | None = None
    ended_by: int | None = None

    def raise_if_ended(self) -> None:
        """Raise ``StopNow`` after a second signal."""
        if self.ended_by is not None:
            raise StopNow(self.ended_by)


class StopNow(BaseException):
    """Raised by the second signal.

    Not an ``Exception``, so that nothing on the way takes it for a fault.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


@contextmanager
def finish_on_signals(stop: StopRequest) -> Iterator[None]:
    """Handle the signals as this module says; the handlers from before are put back.

    SIGHUP is left alone where it is ignored already, as ``nohup`` has it.
    """

    def handle(signal_number: int, frame: FrameType | None) -> None:
        if stop.signal_name is None:
            stop.signal_name = signal.Signals(signal_number).name
        elif signal_number != signal.SIGHUP:  # a closed terminal sends several of these
            stop.ended_by = signal_number
            stop.raise_if_ended()

    before = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupting_after(
    seconds: float, what: str = "the batch", stop: StopRequest | None = None
) -> Iterator[None]:
    """Raise ``StalledError`` in the block when it has lasted so long, or ``stop`` asks to finish.

    It cannot interrupt a call into a library that never returns to Python; that is what the guard
    is for. Outside the main thread, where Python knows no signals, nothing happens. An alarm that
    somebody else has set is put back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    started_s = time.monotonic()

    def handle(signal_number: int, frame: FrameType | None) -> None:
        if stop is not None and stop.signal_name is not None:
            reason = f"was given up for {stop.signal_name}"
        elif stop is None or time.monotonic() - started_s >= seconds:
            reason = f"had not ended after {seconds:.1f} s"
        else:
            next_look(LOOK_EVERY_S)
            return
        if stop is not None:  # should a library swallow it
            next_look(RAISE_AGAIN_S)
        raise StalledError(f"{what} {reason}")

    def next_look(latest_s: float) -> None:
        left_s = seconds - (time.monotonic() - started_s)
        signal.setitimer(signal.ITIMER_REAL, min(latest_s, left_s) if left_s > 1e-3 else latest_s)

    handler_before = signal.signal(signal.SIGALRM, handle)
    first_s = seconds if stop is None else min(seconds, LOOK_EVERY_S)
    left_before_s, interval_s = signal.setitimer(signal.ITIMER_REAL, max(first_s, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)
        if left_before_s:
            left_s = max(left_before_s - (time.monotonic() - started_s), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left_s, interval_s)
