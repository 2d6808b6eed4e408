"""Cursor codecs: they turn a cursor's payload into a token and back."""
