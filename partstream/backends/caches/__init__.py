"""Cache stores: they keep fragments, and the locks of fragments that are being made."""
