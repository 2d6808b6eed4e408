"""How many examples Hypothesis tries: a few by hand, many in CI.

`ci` is the profile where `CI` is set, and `small` elsewhere; pytest's option
`--hypothesis-profile` chooses one by its name. A law says with `examples` how many it needs in CI.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

#: Examples of a test that does not say how many, by profile.
COUNTS = {"small": 20, "ci": 100}

for _name, _count in COUNTS.items():
    settings.register_profile(
        _name,
        max_examples=_count,
        # By hand there is somebody who can look at new examples; CI tries the same ones each time.
        derandomize=bool(os.environ.get("CI")),
        deadline=None,  # How long an example takes depends on the machine.
        suppress_health_check=[HealthCheck.too_slow],
    )


def load_default():
    """Load the profile of this run; pytest's option may load another one later."""
    settings.load_profile("ci" if os.environ.get("CI") else "small")


def examples(count, **more):
    """The settings of a test that tries ``count`` examples in CI, or fewer."""
    return settings(max_examples=max(1, count * settings.default.max_examples // 100), **more)
