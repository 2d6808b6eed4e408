"""Streams: every remaining part of a walk in one response, each sent when it is ready."""
