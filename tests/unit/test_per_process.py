from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from partstream.per_process import Once


def test_once__each_key_is_first_once():
    once = Once()
    assert [once.is_first(key) for key in ("a", "b", "a", None, None)] == [
        *(True, True, False),
        *(True, False),
    ]


def test_once__one_thread_is_the_first():
    once, together = Once(), Barrier(8)

    def ask(_):
        together.wait()
        return once.is_first("a")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_once__that_is_full_tells_of_no_new_key():
    once = Once(most=2)
    assert [once.is_first(key) for key in "abc"] == [True, True, False]


def test_once__forgets_when_its_setting_changes(settings):
    once, other = Once("DJANGO_PARTSTREAM"), Once()
    assert once.is_first()
    assert other.is_first()
    settings.DJANGO_PARTSTREAM = {}
    assert once.is_first()
    assert not other.is_first()
