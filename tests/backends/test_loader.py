from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from django.test import override_settings

from partstream.backends.cursors.base import CursorCodec
from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.backends.loader import get_cursor_codec
from partstream.exceptions import Misuse

SIGNED = "partstream.backends.cursors.signed.SignedCursorCodec"
JWT = "partstream.backends.cursors.jwt.JWTCursorCodec"


class LabelledCodec(SignedCursorCodec):
    """A codec with an option of its own."""

    def __init__(self, *, keys, label):
        super().__init__(keys=keys)
        self.label = label


class Bystander:
    """Not a codec."""


def configured(codec):
    return override_settings(DJANGO_PARTSTREAM={"CURSOR_CODEC": codec})


def test_codec__is_fernet_by_default():
    assert type(get_cursor_codec()) is FernetCursorCodec


def test_codec__is_one_a_process():
    assert get_cursor_codec() is get_cursor_codec()


@pytest.mark.parametrize("codec", [SIGNED, {"BACKEND": SIGNED}, {"BACKEND": SIGNED, "OPTIONS": {}}])
def test_codec__is_what_the_setting_names(codec):
    before = get_cursor_codec()
    with configured(codec):
        assert type(get_cursor_codec()) is SignedCursorCodec
    assert type(get_cursor_codec()) is type(before)


def test_codec__gets_its_options():
    with configured({"BACKEND": f"{__name__}.LabelledCodec", "OPTIONS": {"label": "blue"}}):
        assert get_cursor_codec().label == "blue"


@pytest.mark.parametrize("setting", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_codec__is_made_anew_when_the_secrets_change(setting):
    before = get_cursor_codec()
    value = "another secret" if setting == "SECRET_KEY" else ["another secret"]
    with override_settings(**{setting: value}):
        assert get_cursor_codec() is not before


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ("no.such.module.Codec", "cannot be imported: No module named 'no'"),
        ("partstream.nothing.Codec", "cannot be imported: No module named 'partstream.nothing'"),
        ("partstream.backends.cursors.signed.Nothing", "is not a CursorCodec. Name a class"),
        (f"{__name__}.Bystander", "is not a CursorCodec. Name a class that inherits it."),
        (f"{__name__}.SIGNED", "is not a CursorCodec. Name a class that inherits it."),
        ({"BACKEND": SIGNED, "OPTIONS": {"x": 1}}, "does not take its OPTIONS ['x']"),
        (f"{__name__}.LabelledCodec", "does not take its OPTIONS []"),
        ("partstream.backends.cursors.base.CursorCodec", "abstract"),
    ],
)
def test_codec__what_cannot_be_made_is_refused_at_every_use(codec, says):
    with configured(codec):
        for _ in range(2):
            with pytest.raises(Misuse) as caught:
                get_cursor_codec()
            path = codec if isinstance(codec, str) else codec["BACKEND"]
            assert f"DJANGO_PARTSTREAM['CURSOR_CODEC'] = {path!r}" in str(caught.value)
            assert says in str(caught.value)
    assert isinstance(get_cursor_codec(), CursorCodec)


NEEDS_EXTRA = "needs a package that is not installed. Run: pip install 'django-partstream[jwt]'"


@pytest.mark.skipif(find_spec("jwt") is not None, reason="the extra jwt is installed")
def test_codec__without_its_extra_is_refused_by_its_name():
    with configured(JWT), pytest.raises(Misuse) as caught:
        get_cursor_codec()
    assert NEEDS_EXTRA in str(caught.value)


def test_codec__whose_package_cannot_be_imported_is_refused_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    monkeypatch.delitem(sys.modules, JWT.rpartition(".")[0], raising=False)
    with configured(JWT), pytest.raises(Misuse) as caught:
        get_cursor_codec()
    assert NEEDS_EXTRA in str(caught.value)
