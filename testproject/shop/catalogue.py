"""The data of the seeded shop: makers and goods, and the names of its customers."""

from __future__ import annotations

from .models import Product

MAKERS = (
    "Alder",
    "Birch",
    "Cairn",
    "Drift",
    "Ember",
    "Fjord",
    "Granite",
    "Heron",
    "Iris",
    "Juniper",
)
GOODS: dict[str, tuple[tuple[str, int], ...]] = {  # name, and approximate price in cents
    Product.Category.TENTS: (
        ("Solo Tent", 18900),
        ("Trail Tent", 28900),
        ("Family Tent", 45900),
        ("Tarp", 6900),
        ("Groundsheet", 3900),
    ),
    Product.Category.SLEEPING: (
        ("Summer Bag", 8900),
        ("Winter Bag", 22900),
        ("Air Mat", 9900),
        ("Foam Mat", 2900),
        ("Pillow", 1900),
    ),
    Product.Category.COOKING: (
        ("Gas Stove", 5900),
        ("Cook Set", 4900),
        ("Mug", 1200),
        ("Water Filter", 7900),
        ("Spork Set", 900),
    ),
    Product.Category.PACKS: (
        ("Day Pack", 7900),
        ("Trek Pack", 18900),
        ("Dry Bag", 2400),
        ("Hip Pouch", 2900),
        ("Rain Cover", 1900),
    ),
    Product.Category.CLOTHING: (
        ("Rain Jacket", 17900),
        ("Fleece", 8900),
        ("Merino Shirt", 6900),
        ("Trousers", 9900),
        ("Wool Hat", 2900),
    ),
    Product.Category.FOOTWEAR: (
        ("Boots", 21900),
        ("Trail Shoes", 14900),
        ("Sandals", 7900),
        ("Socks", 1800),
        ("Gaiters", 4400),
    ),
    Product.Category.LIGHTS: (
        ("Head Lamp", 4900),
        ("Lantern", 3900),
        ("Torch", 2900),
        ("Battery Pack", 5900),
        ("Beacon", 24900),
    ),
    Product.Category.CLIMBING: (
        ("Rope", 15900),
        ("Harness", 7900),
        ("Helmet", 8900),
        ("Carabiner", 1400),
        ("Chalk Bag", 2200),
    ),
}
FIRST_NAMES = (
    "Ada Ben Chiara Dmitri Elif Femi Greta Hugo Ines Jonas Kaya Liam Mina Noor Otto Priya Quinn"
    " Rosa Sven Tara Umut Vera Wim Xenia Yusuf Zoe"
).split()
LAST_NAMES = (
    "Almeida Bauer Costa Dubois Eriksen Fischer Garcia Hansen Ivanov Jansen Kaya Lind Moreau Novak"
    " Okafor Petrov Quist Rossi Silva Tanaka Ueda Virtanen Weber Xu Yilmaz Zeman"
).split()
CITIES = (
    "Bergen Bern Bilbao Brno Cork Delft Galway Ghent Graz Innsbruck Krakow Lille Lyon Malmo Munich"
    " Oslo Porto Tampere Turin Vilnius"
).split()
