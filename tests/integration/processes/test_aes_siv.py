"""A cryptography without AES-SIV: its OpenSSL is configured so, in a fresh process."""

from __future__ import annotations

import json

import pytest

from tests.support.processes import run_python

CODEC = "partstream.backends.cursors.aead.AESSIVCursorCodec"
MESSAGE = (
    f"PARTSTREAM_CURSOR_CODEC = {CODEC!r}: the installed cryptography has no AES-SIV, which needs "
    "OpenSSL 3.0 or newer and no FIPS mode. Install a wheel of cryptography, or use "
    "FernetCursorCodec."
)

CONFIGURATION = """
openssl_conf = init
[init]
alg_section = algorithms
[algorithms]
default_properties = {}
"""

CODE = """
import hashlib, hmac, json, os, ssl
# Python's OpenSSL is not cryptography's. It has read its own configuration by now.
hmac.digest(b"key", b"", "sha256"), hashlib.md5(), ssl.create_default_context()
os.environ["OPENSSL_CONF"] = os.environ["CONFIGURATION"]
import django
django.setup()
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.core.checks import run_checks
from django.test import RequestFactory
from partstream import ProgressiveView
from partstream.exceptions import Misuse
try:
    raised = AESSIV(bytes(64))
except Exception as error:
    raised = type(error).__name__
checked = [(message.id, message.msg) for message in run_checks() if "SIV" in message.msg]
used = []
for _ in range(2):
    try:
        view = ProgressiveView.as_view(parts=[("a", 1), ("b", 2), ("c", 3)])
        used.append(view(RequestFactory().get("/")).status_code)
    except Misuse as error:
        used.append(str(error))
print(json.dumps([raised, checked, used], default=repr))
"""


@pytest.mark.parametrize(
    ("properties", "error"),
    [("fips=yes", "UnsupportedAlgorithm"), ("provider=none", "InternalError")],
    ids=["fips", "no cipher"],
)
def test_aes_siv__that_is_not_there_is_a_clear_error(tmp_path, properties, error):
    configuration = tmp_path / "openssl.cnf"
    configuration.write_text(CONFIGURATION.format(properties))
    environment = {"CONFIGURATION": str(configuration), "PARTSTREAM_CURSOR_CODEC": CODEC}
    raised, checked, used = json.loads(run_python(CODE, tmp_path, **environment))
    # What the case stands on: cryptography refuses by this exception.
    assert raised == error
    assert checked == [["partstream.E003", MESSAGE]]
    assert used == [MESSAGE, MESSAGE]
