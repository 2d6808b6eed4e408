from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.backends.rate_limits.contract", "tests.backends.rate_limits.faults"
)
