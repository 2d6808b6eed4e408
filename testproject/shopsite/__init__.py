"""The demo site: settings, addresses and server entry points around the `shop` app."""
