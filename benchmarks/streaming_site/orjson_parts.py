"""What the memory would be if orjson wrote the parts. The library offers no setting for that."""

from __future__ import annotations

from partstream.resolution import boundary


def put_in():
    """Have orjson write the parts of this process, in place of DRF's encoder."""
    import orjson

    if not hasattr(boundary, "encode"):
        raise RuntimeError("partstream.resolution.boundary has no `encode` to replace.")
    boundary.encode = orjson.dumps
