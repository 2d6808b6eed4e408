"""How gunicorn serves the shop; docs/deployment.md explains each line."""

from __future__ import annotations

import os

bind = os.environ.get("SHOP_BIND", "0.0.0.0:8000")
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 8
timeout = 60
graceful_timeout = 30
keepalive = 5
