#!/usr/bin/env python
"""The demo shop's command line: `python testproject/manage.py demo` is the place to start."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the management command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopsite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
