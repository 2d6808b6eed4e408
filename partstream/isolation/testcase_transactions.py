"""Jobs that leave the transaction of a test: another thread does not see the test's rows."""

from __future__ import annotations

import sys
import warnings
from typing import Final

from django.db import connections

#: Django's module of `TestCase`. No server imports it.
_TESTS: Final = "django.test.testcases"


def warn_outside_of_test(view: object, name: str) -> None:
    """Warn if a part is about to run in another thread, outside the transaction of a ``TestCase``.

    It would find tables that are locked, or no rows at all, with nothing that tells why. Python's
    own filters decide how often the warning is shown: by default once for each part.
    """
    if _TESTS in sys.modules and any(
        getattr(block, "_from_testcase", False)
        for connection in connections.all(initialized_only=True)
        for block in connection.atomic_blocks
    ):
        warnings.warn(
            f"Part {name!r} of {type(view).__name__} runs in another thread, which does not see "
            "the transaction of this test, and so none of its rows. Decorate the test with "
            "partstream.testing.inline(), or use a TransactionTestCase.",
            RuntimeWarning,
            stacklevel=2,
        )
