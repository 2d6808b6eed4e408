"""What the settings choose by dotted path: cursor codecs now."""
