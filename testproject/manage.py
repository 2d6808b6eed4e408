#!/usr/bin/env python
"""The demo shop's command line: start with `python testproject/manage.py demo`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the management command given in the arguments."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopsite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
