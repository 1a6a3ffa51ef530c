import os
import signal
import threading
import time

import pytest

from challenge.errors import StalledError
from challenge.stop import (
    LOOK_EVERY_S,
    StopNow,
    StopRequest,
    finish_on_signals,
    interrupting_after,
)


def test_the_first_signal_asks_and_the_second_ends() -> None:
    stop = StopRequest()
    with finish_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_name == "SIGTERM"
        with pytest.raises(StopNow) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.exit_code == 130
    with pytest.raises(StopNow):  # a library may have swallowed the first
        stop.raise_if_ended()


@pytest.mark.usefixtures("hangups")
def test_a_terminal_that_is_closed_asks_however_often_it_says_so() -> None:
    stop = StopRequest()
    with finish_on_signals(stop):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (stop.signal_name, stop.ended_by) == ("SIGHUP", None)
        with pytest.raises(StopNow):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.usefixtures("hangups")
def test_a_terminal_that_is_closed_is_nothing_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    with finish_on_signals(stop):
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal_name is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_block_that_does_not_end_is_interrupted() -> None:
    started_s = time.monotonic()
    with pytest.raises(StalledError, match=r"had not ended after 0\.1 s"), interrupting_after(0.1):
        time.sleep(30)
    assert time.monotonic() - started_s < 10


def test_a_time_that_is_over_already_interrupts_at_once() -> None:
    with pytest.raises(StalledError), interrupting_after(-5.0):
        time.sleep(30)


def test_a_block_that_ends_is_left_alone_and_so_is_what_comes_after_it() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with interrupting_after(0.05):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) == before


def test_somebody_elses_alarm_is_put_back() -> None:
    rang = []
    handler_before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    timer_before = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with interrupting_after(60.0):
            time.sleep(0.05)
        time.sleep(0.3)
        assert rang == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler_before)
        signal.setitimer(signal.ITIMER_REAL, *timer_before)


def test_outside_the_main_thread_nothing_is_interrupted() -> None:
    ended = []

    def work() -> None:
        with interrupting_after(0.01):
            time.sleep(0.1)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def test_what_lasts_is_given_up_when_the_run_is_to_finish() -> None:
    stop = StopRequest()
    with interrupting_after(60.0, "compiling", stop):
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= LOOK_EVERY_S
    started_s = time.monotonic()
    stop.signal_name = "SIGTERM"
    with (
        pytest.raises(StalledError, match="compiling was given up for SIGTERM"),
        interrupting_after(60.0, "compiling", stop),
    ):
        wait(30.0)
    assert time.monotonic() - started_s < 20.0


def test_what_a_library_swallows_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("challenge.stop.RAISE_AGAIN_S", 0.05)
    with interrupting_after(0.1, "compiling", StopRequest()):
        for _ in range(2):
            with pytest.raises(StalledError, match=r"compiling had not ended after 0\.1 s"):
                wait(30.0)


def wait(seconds: float) -> None:
    """Sleep in small pieces, as code that returns to Python now and then."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(0.01)
