"""The first Ctrl-C or SIGTERM ends the demo, and no other one interrupts what cleans up."""

from __future__ import annotations

import signal

import pytest

from project.demo.stopping import Stopped, stop_on_signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_stops_it_and_further_ones_are_ignored(signum):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    cleaned = []

    def work() -> None:
        try:
            signal.raise_signal(signum)
        finally:
            for each in before:
                signal.raise_signal(each)
                cleaned.append(each)

    with pytest.raises(Stopped) as caught, stop_on_signals():
        work()
    assert caught.value.signum == signum
    assert cleaned == [*before]
    assert {each: signal.getsignal(each) for each in before} == before
