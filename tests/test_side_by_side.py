"""Computations side by side: results in order, one core each, and nothing is begun that nobody waits for."""

import signal
import threading
import time

import pytest
import torch

from lucid.side_by_side import Interrupted, side_by_side


@pytest.fixture(params=[1, 2])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("OMP_NUM_THREADS", str(request.param))
    return int(request.param)


def test_results_come_in_the_order_of_the_items(cores: int) -> None:
    """Whatever ends first, and on as many threads as there are cores."""
    both = threading.Barrier(cores)

    def work(item: int) -> tuple[int, int, int]:
        both.wait(60)  # passes only where as many are at work as there are cores
        return item, threading.get_ident(), torch.get_num_threads()

    items, threads, cores_each = zip(*side_by_side(work, range(6)), strict=True)
    assert items == (0, 1, 2, 3, 4, 5)
    assert len(set(threads)) == cores
    assert cores == 1 or set(cores_each) == {1}


def test_what_is_within_another_has_no_cores_of_its_own(cores: int) -> None:
    """It runs where the outer one runs."""

    def inner(_: int) -> int:
        return threading.get_ident()

    for found, own in side_by_side(lambda _: (set(side_by_side(inner, range(4))), threading.get_ident()), range(4)):
        assert found == {own}


def test_an_error_is_raised_where_its_result_is_asked_for(cores: int) -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("the second")
        time.sleep(item / 10)
        return item

    found = side_by_side(work, range(100))
    assert next(found) == 0
    with pytest.raises(ValueError, match="the second"):
        next(found)
    assert len(begun) < 100


def test_who_interrupts_the_one_that_waits_interrupts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does, and a signal that cancels a run: what computes beside it does not go on to its end."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    ended: list[type[BaseException]] = []
    both, waits = threading.Barrier(2), threading.get_ident()

    def work(item: int) -> None:
        deadline = time.monotonic() + 60
        try:  # as soon as the first one interrupts, it may be interrupted itself
            both.wait(60)
            if item == 0:
                signal.pthread_kill(waits, signal.SIGINT)
            while time.monotonic() < deadline:
                sum(range(1000))
        except BaseException as interrupted:
            ended.append(type(interrupted))
            raise

    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(work, range(2)))

    assert [Interrupted] * 2 == ended
