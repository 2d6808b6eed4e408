"""Any text that a client may send: addresses, and lines of the audit log."""

from __future__ import annotations

import logging
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from partstream.security import AuditLogger
from partstream.security.audit import FIELDS
from partstream.security.client_ip import parse_address
from tests.unit.security.test_audit import Handler, is_sound


@given(st.text(max_size=80) | st.ip_addresses().map(str))
def test_parse_address__never_raises(text):
    address = parse_address(text)
    assert address is None or ip_address(str(address)) == address


@given(st.fixed_dictionaries({}, optional={name: st.text() for name in FIELDS if name != "event"}))
def test_write__any_text_is_one_sound_line(fields):
    logger, handler = logging.getLogger("partstream.audit"), Handler()
    logger.addHandler(handler)
    try:
        AuditLogger().write("authz_fail", **fields)
    finally:
        logger.removeHandler(handler)
    [line] = handler.lines
    assert is_sound(line)
