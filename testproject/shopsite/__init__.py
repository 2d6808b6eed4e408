"""The demo site: settings, URLs and server entry points around the `shop` app."""
