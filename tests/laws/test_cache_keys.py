"""Cache keys are injective: no two different requests share one."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from hypothesis import assume, given
from hypothesis import strategies as st

from partstream.caching.cache_keys import Caching, Scope
from partstream.identity import joined
from tests.support.hypothesis_profiles import examples


class FirstView:
    pass


texts = st.text("1:-,ab", max_size=4)


@examples(100)
@given(st.lists(st.none() | st.text(max_size=3), max_size=3), st.data())
def test_joined__is_injective_over_all_texts(one, data):
    other = data.draw(st.permutations(one) | st.lists(st.none() | st.text(max_size=3), max_size=3))
    assume(one != list(other))
    assert joined(one) != joined(other)


@st.composite
def asked(draw):
    names = st.text("a1", min_size=1, max_size=2)
    query = draw(st.lists(st.tuples(names, st.text("1:-=&a", max_size=2)), max_size=3))
    vary = draw(st.lists(st.sampled_from(["X-A", "X-B"]), max_size=2))
    headers = draw(st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.text("1:-", max_size=3)))
    host = draw(st.sampled_from(["a", "a1"]))
    request = HttpRequest()
    request.META = {"HTTP_HOST": host}
    for name, text in headers.items():
        request.META[f"HTTP_{name.upper().replace('-', '_')}"] = text
    request.GET = QueryDict(urlencode(query))
    request.version = draw(st.sampled_from([None, "1", "-"]))
    identity = draw(st.none() | texts)
    caching = Caching(60, True, tuple(vary)) if identity is None else Caching(60, vary=tuple(vary))
    url = draw(texts)
    part, serializer = draw(texts), draw(st.none() | texts)
    dependencies = draw(st.lists(st.tuples(names, st.binary(max_size=3)), max_size=2))
    scope = Scope(request, FirstView, identity=identity, path=url)
    grouped = {}
    for name, value in query:
        grouped.setdefault(name, []).append(value)
    facts = (
        host,
        grouped,
        request.version,
        identity,
        url,
        part,
        serializer,
        [(name, headers.get(name)) for name in vary],
        dependencies,
    )
    return facts, scope.part_key(caching, part, serializer, dependencies)


@examples(100)
@given(asked(), asked())
def test_part_key__is_injective(one, other):
    assert (one[1] == other[1]) is (one[0] == other[0])
