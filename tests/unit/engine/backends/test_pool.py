from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from coder_engine.backends.pool import Pool


class Thing:
    def __init__(self) -> None:
        self.closed = False
        self.users = 0

    def close(self) -> None:
        self.closed = True


def test_things_are_made_as_needed_and_used_again() -> None:
    made: list[Thing] = []

    def make() -> Thing:
        made.append(Thing())
        return made[-1]

    pool = Pool(make, 3)
    with pool.borrow() as one, pool.borrow() as two:
        assert one is not two
    for _ in range(5):
        with pool.borrow():
            pass
    assert len(made) == 2


def test_a_thing_that_failed_is_closed_and_not_used_again() -> None:
    pool = Pool(Thing, 1)
    with pytest.raises(RuntimeError, match="no"), pool.borrow() as bad:
        raise RuntimeError("no")
    assert bad.closed
    with pool.borrow() as good:
        assert good is not bad
        assert not good.closed


def test_a_thing_that_failed_harmlessly_is_used_again() -> None:
    pool = Pool(Thing, 1, harmless=(ValueError,))
    with pytest.raises(ValueError, match="no"), pool.borrow() as one:
        raise ValueError("no")
    with pool.borrow() as again:
        assert again is one
        assert not one.closed


def test_a_thing_that_cannot_be_made_keeps_nobody_waiting() -> None:
    def fail() -> Thing:
        raise RuntimeError("no memory")

    pool = Pool(fail, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no memory"), pool.borrow():
            pass


def test_never_more_than_the_limit() -> None:
    made: list[Thing] = []
    lock = threading.Lock()
    together = threading.Barrier(2)

    def make() -> Thing:
        with lock:
            made.append(Thing())
        return made[-1]

    pool = Pool(make, 2)

    def use(number: int) -> bool:
        with pool.borrow() as one:
            one.users += 1
            if number < 2:
                together.wait(30)  # the first two do run at once
            alone = one.users == 1
            one.users -= 1
            return alone

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(64)))
    assert len(made) == 2
