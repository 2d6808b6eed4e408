from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy

from partstream import PartError
from partstream.exceptions import Misuse


def test_part_error__says_what_it_was_given():
    error = PartError("The warehouse is closed.", code="warehouse_closed", retryable=False)
    assert (error.detail, error.code, error.retryable) == (
        "The warehouse is closed.",
        "warehouse_closed",
        False,
    )


def test_part_error__has_defaults():
    error = PartError(gettext_lazy("Later."))
    assert (str(error.detail), error.code, error.retryable) == ("Later.", "part_failed", True)


@pytest.mark.parametrize("code", ["", "Closed", "a-b", "1a", "_a", "a b", "a\n", "é", "a" * 65])
def test_part_error__refuses_a_code_of_another_form(code):
    with pytest.raises(Misuse, match="lower-case letters, digits and underscores") as caught:
        PartError("Closed.", code=code)
    assert repr(code) in str(caught.value)


@pytest.mark.parametrize("code", ["a", "a" * 64, "warehouse_closed_2"])
def test_part_error__takes_a_code_of_the_form(code):
    assert PartError("Closed.", code=code).code == code


def test_misuse__is_an_improper_configuration():
    assert issubclass(Misuse, ImproperlyConfigured)
