"""A shop with real rows, whose dashboard shows what progressive delivery is for."""
