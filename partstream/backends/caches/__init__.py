"""Cache stores: they keep fragments, and the locks of those that are being made."""
