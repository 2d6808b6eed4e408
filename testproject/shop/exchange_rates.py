"""A client of the exchange-rate service that SHOP_EXCHANGE_RATES_URL names.

The service answers JSON such as `{"base": "EUR", "rates": {"USD": 1.08}}`. In the demo nothing
listens there: the call is made and fails, as calls to external services sometimes do.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from django.conf import settings

TIMEOUT_SECONDS = 1.0
_MOST_BYTES = 100_000

LAST_KNOWN = {"base": "EUR", "rates": {"CHF": 0.94, "GBP": 0.86, "USD": 1.08}}
"""The rates that the shop uses while the service does not answer."""

# The service is inside the shop's own network, so no proxy for the internet is used.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch() -> dict[str, Any]:
    """Ask the service for today's rates.

    Returns:
        `{"base": code, "rates": {code: units of that currency for one of the base}}`.

    Raises:
        OSError: When the service cannot be reached, is too slow, or answers with an error.
        ValueError: When the answer is not in the expected form.
    """
    with _opener.open(settings.SHOP_EXCHANGE_RATES_URL, timeout=TIMEOUT_SECONDS) as answer:
        body = json.loads(answer.read(_MOST_BYTES))
    try:
        rates = {code: _rate(body["rates"][code]) for code in sorted(body["rates"])}
        return {"base": str(body["base"]), "rates": rates}
    except (KeyError, TypeError) as error:
        raise ValueError("The exchange-rate service returned no rates.") from error


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ValueError(f"The exchange-rate service returned {value!r:.80} as a rate.")
    return float(value)
