from __future__ import annotations

from rest_framework.permissions import IsAdminUser

from partstream import PartList, lazy


class Owner:
    """Stands where a view's class does."""


def load(request):
    return None


def load_one(request, a):
    return a


def test_closure__has_each_behind_what_it_depends_on():
    layout = PartList(
        [
            ("top", lazy(lambda request, left, right: 1, depends_on=["left", "right"])),
            ("left", lazy(lambda request, base: 1, depends_on=["base"])),
            ("right", lazy(lambda request, base: 1, depends_on=["base"])),
            ("base", 1),
            ("other", 1),
        ]
    ).layout
    assert layout.closure(["top"]) == ["base", "left", "right", "top"]
    assert layout.closure(["other", "left"]) == ["other", "base", "left"]
    assert [layout.names[position] for position in layout.order].index("top") > 2


def test_closure__of_a_long_chain_does_not_recurse():
    pairs = [("p0", 1)]
    for number in range(1, 2000):
        pairs.append((f"p{number}", lazy(lambda request, **_: 1, depends_on=[f"p{number - 1}"])))
    layout = PartList(pairs).layout
    assert layout.closure(["p1999"]) == [f"p{number}" for number in range(2000)]


def test_digests__are_of_names_order_and_count():
    def digest(*names, count=None):
        layout = PartList([(name, 1) for name in names]).layout
        return layout.digests(len(names) if count is None else count)

    assert digest("a", "b") == digest("a", "b")
    assert digest("a", "b", "c", count=2) == digest("a", "b")
    distinct = {digest("a", "b"), digest("b", "a"), digest("a"), digest("ab"), digest("a", "c")}
    assert len(distinct) == 5


def test_digests__are_keyed(settings):
    layout = PartList([("a", 1)]).layout
    before = layout.digests(1)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    first, second = layout.digests(1)
    assert first not in before
    assert (second,) == before


def test_layout__is_kept_for_the_same_shape():
    def pairs():
        return [("a", 1), ("b", lazy(load_one, depends_on=["a"]))]

    assert PartList(pairs(), owner=Owner).layout is PartList(pairs(), owner=Owner).layout


def test_layout__is_another_for_another_shape():
    plain = PartList([("a", 1), ("b", lazy(load))], owner=Owner).layout
    guarded = PartList([("a", 1), ("b", lazy(load, permission_classes=[IsAdminUser]))], owner=Owner)
    assert guarded.layout is not plain
    assert (plain.guarded, guarded.layout.guarded) == (False, True)


def test_layout__follows_declarations_that_alternate():
    class Alternating:
        pass

    def load(request, **dependencies):
        return None

    declarations = {
        "plain": lambda: ([("a", lazy(load)), ("b", lazy(load))], ()),
        "immediate": lambda: ([("a", 1), ("b", lazy(load))], ()),
        "linked": lambda: ([("a", lazy(load)), ("b", lazy(load, depends_on=["a"]))], ()),
        "back": lambda: ([("a", lazy(load, depends_on=["b"])), ("b", lazy(load))], ()),
        "gated": lambda: ([("a", lazy(load)), ("b", lazy(load))], (("b", ("a",)),)),
        "guarded": lambda: (
            [("a", lazy(load, permission_classes=[IsAdminUser])), ("b", lazy(load))],
            (),
        ),
    }
    expected = {
        "plain": (((), ()), ((), ())),
        "immediate": (((), ()), ((), ())),
        "linked": (((), ("a",)), ((), ())),
        "back": ((("b",), ()), ((), ())),
        "gated": (((), ("a",)), ((), ())),
        "guarded": (((), ()), ((IsAdminUser,), ())),
    }
    for first in declarations:
        for second in declarations:
            for name in (first, second):
                pairs, gates = declarations[name]()
                layout = PartList(pairs, owner=Alternating, gates=gates).layout
                assert (layout.dependencies, layout.permissions) == expected[name]
