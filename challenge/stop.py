"""Ctrl-C and SIGTERM: the first asks to finish now with a valid file, the second ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Set by the first SIGINT or SIGTERM: finish now with what there is."""

    signal_name: str | None = None


class StopNow(BaseException):
    """Raised by the second signal.

    Not an ``Exception``, so that nothing on the way takes it for a fault.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


@contextmanager
def finish_on_signals(stop: StopRequest) -> Iterator[None]:
    """Handle SIGINT and SIGTERM as this module says; the handlers from before are put back."""

    def handle(signal_number: int, frame: FrameType | None) -> None:
        if stop.signal_name is not None:
            raise StopNow(signal_number)
        stop.signal_name = signal.Signals(signal_number).name

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
