from __future__ import annotations

import copy
import functools
import gc
import inspect
import itertools
import weakref

import pytest
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from partstream import (
    PartList,
    ProgressiveView,
    cached_for,
    endpoint,
    lazy,
    safe_call,
    with_timeout,
)
from partstream.backends.executors.threads import ThreadExecutor
from partstream.exceptions import Misuse
from partstream.parts import mistakes
from partstream.parts.declaration import LazyPart, LinkedPart
from partstream.parts.layout import _make_layout


def load(request):
    return None


def load_one(request, a):
    return a


async def load_async(request):
    return None


class View:
    """Stands where a view's class does."""

    def get(self, request):
        return None

    def get_a(self, request, a):
        return a

    def get_nothing(self):
        return None

    @staticmethod
    def get_static(request):
        return None

    @classmethod
    def get_class(cls, request):
        return None

    get_covered = safe_call(get, fallback=[])
    number = 7


class Callable:
    def __call__(self, request):
        return None


# lazy()


@pytest.mark.parametrize(
    "func",
    [
        load,
        load_async,
        View().get,
        functools.partial(load_one, a=1),
        lambda request: 1,
        Callable(),
    ],
)
def test_lazy__takes_whatever_can_be_called(func):
    part = lazy(func)
    assert isinstance(part, LazyPart)
    assert part.bound_loader(None).function == func


def test_lazy__keeps_its_arguments():
    part = lazy(
        "get",
        depends_on=["a", "b"],
        size="large",
        serializer_class=Serializer,
        many=True,
        permission_classes=[IsAdminUser],
    )
    assert part.depends_on == ("a", "b")
    assert (part.loader, part.size, part.serializer_class) == ("get", "large", Serializer)
    assert (part.many, part.permission_classes) == (True, (IsAdminUser,))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"func": None}, "lazy() takes a function of (request), not NoneType."),
        ({"func": [1]}, "lazy() takes a function of (request), not list."),
        ({"func": load, "depends_on": "meta"}, "lazy(depends_on='meta'): write a list, ['meta']."),
        ({"func": load, "many": True}, "lazy(many=True) needs a serializer_class."),
        (
            {"func": load, "permission_classes": IsAdminUser},
            "write a list of permission classes.",
        ),
    ],
)
def test_lazy__refuses_what_cannot_work(arguments, says):
    with pytest.raises(Misuse) as caught:
        lazy(**arguments)
    assert says in str(caught.value)


def test_lazy__refuses_a_call_in_place_of_the_function(recwarn):
    coroutine = load_async(None)
    try:
        with pytest.raises(Misuse, match="Pass the function itself, without calling it"):
            lazy(coroutine)
    finally:
        coroutine.close()


# PartList


def test_part_list__has_the_pairs_in_order():
    part = lazy(load)
    parts = PartList([("b", 1), ("a", part), ("c", None)])
    assert list(parts) == [("b", 1), ("a", part), ("c", None)]
    assert len(parts) == 3
    assert parts.layout.names == ("b", "a", "c")


@pytest.mark.parametrize("pairs", [[], (), iter([]), (pair for pair in [])])
def test_part_list__may_be_empty(pairs):
    assert len(PartList(pairs)) == 0


@pytest.mark.parametrize(
    "name", ["a", "A", "_", "_1", "a" * 64, "match", "Request", "results", "errors", "cursor"]
)
def test_name__is_taken(name):
    assert len(PartList([(name, 1)])) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("", "1a", "a-b", "a b", "a.b", "a,b", 'a"b', "a\n", "a\x00", "a\ud800"),
        *("é", "\uff41", "名", "a" * 65, "class", "None", "async", "request", "self"),
    ],
)
def test_name__is_refused(name):
    with pytest.raises(Misuse) as caught:
        PartList([("good", 1), (name, 2)], owner=View)
    assert f"View: {name!r:.80} is not a valid name for a part. Use letters" in str(caught.value)


@pytest.mark.parametrize("name", [1, None, b"a", ("a",), ["a"], {}])
def test_name__of_another_kind_is_refused(name):
    with pytest.raises(Misuse, match=r"is not a valid name\. A part's name must be a str"):
        PartList([("good", 1), (name, 2)], owner=View)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (None, "View: the parts are None. Return a list of (name, value) pairs, for example"),
        ({"a": 1}, "View: the parts are a dict. Return a list of (name, value) pairs"),
        ("ab", "View: the parts are a str. Return a list of (name, value) pairs"),
        (7, "View: the parts are a int. Return a list of (name, value) pairs"),
        (load, "View: the parts are a function. Return a list of (name, value) pairs"),
        (["a"], "View: 'a' is not a (name, value) pair."),
        (["ab"], "View: 'ab' is not a (name, value) pair."),
        ([("a",)], "View: ('a',) is not a (name, value) pair."),
        ([("a", 1, 2)], "View: ('a', 1, 2) is not a (name, value) pair."),
        ([None], "View: None is not a (name, value) pair."),
        ([lazy(load)], 'a lazy part has no name. Write a pair: ("orders", lazy(...)).'),
        ((1,), '1 is not a (name, value) pair. Write for example ("orders", lazy(...)).'),
        (Response([]), "the parts are a Response. Return a list of (name, value) pairs"),
        ([("a", endpoint("a"))], "part 'a' is an endpoint. Wrap it: lazy(endpoint(...))."),
        ([("a", 1), ("b", 2), ("a", 3)], "View: part 'a' is declared twice. Rename one of them."),
        (
            [("a", load)],
            "part 'a' …function…Wrap it: lazy(load).",
        ),
        (
            [("a", lambda request: 1)],
            "part 'a' …function…Wrap it: lazy(...).",
        ),
        (
            [("a", load_async)],
            "part 'a' …function…Wrap it: lazy(load_async).",
        ),
        (
            [("a", View().get)],
            "part 'a' …method…Wrap it: lazy(self.get).",
        ),
        (
            [("a", View.get)],
            "part 'a' …function…Wrap it: lazy('get').",
        ),
        (
            [("a", functools.partial(load))],
            "part 'a' …partial…Wrap it: lazy(...).",
        ),
        (
            [("a", safe_call(load, []))],
            "part 'a' …Loader…Wrap it: lazy(...).",
        ),
        (
            [("a", Callable())],
            "part 'a' …Callable…Wrap it: lazy(...).",
        ),
        ([("a", View)], "part 'a' is the class View.…lazy(..., serializer_class=...)."),
        ([("a", lazy(load_one, depends_on=["b"]))], "part 'a' depends on 'b', which is not a"),
        ([("a", lazy(load_one, depends_on=["a"]))], "in a circle: a -> a. Remove one dependency"),
    ],
)
def test_part_list__misuse_names_view_part_and_fix(pairs, says):
    with pytest.raises(Misuse) as caught:
        PartList(pairs, owner=View)
    assert all(piece in str(caught.value) for piece in says.split("…")), caught.value
    assert str(caught.value).startswith("View: ")


class OrderSerializer(Serializer):
    pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            OrderSerializer(),
            "lazy(serializer_class=OrderSerializer(...)): write the class, "
            "serializer_class=OrderSerializer.",
        ),
        (
            OrderSerializer(many=True),
            "lazy(serializer_class=OrderSerializer(...)): write the class, "
            "serializer_class=OrderSerializer, many=True.",
        ),
        (
            "OrderSerializer",
            "lazy(serializer_class='OrderSerializer'): write the class, not its name.",
        ),
    ],
)
def test_lazy__a_serializer_that_is_not_a_class_is_misuse(given, says):
    with pytest.raises(Misuse) as caught:
        lazy(load, serializer_class=given)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("serializer", "serializer_class=."),
        ("serialiser_class", "serializer_class=."),
        ("permissions", "permission_classes=[...]."),
        ("permission_class", "permission_classes=[...]."),
        ("depends", "depends_on=[...]."),
        ("dependencies", "depends_on=[...]."),
        ("depend_on", "depends_on=."),
        ("fallback", "lazy(safe_call(loader, fallback=...))."),
        ("ttl", "lazy(cached_for(60)(loader))."),
        ("pigeons", f"one of {', '.join(mistakes._ARGUMENTS)}."),
    ],
)
def test_lazy__an_argument_that_it_does_not_have_names_the_right_one(name, instead):
    with pytest.raises(Misuse) as caught:
        lazy(load, **{name: 1})
    assert str(caught.value) == f"lazy() has no argument {name!r}. Write {instead}"


def test_lazy__messages_name_every_argument():
    parameters = inspect.signature(lazy).parameters.values()
    assert (
        tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)
        == mistakes._ARGUMENTS
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda request, pk: 1,
        lambda request, a=1, *, pk: 1,
        functools.partial(lambda request, one, pk: 1, one=1),
    ],
    ids=itertools.count(),
)
def test_signature__that_wants_the_urls_arguments_points_to_kwargs(function):
    with pytest.raises(Misuse) as caught:
        PartList([("a", 1), ("b", lazy(function))], owner=type("Own", (View,), {}))
    assert str(caught.value).endswith(
        "Change its parameters to (request), and read the URL's arguments from "
        "request.parser_context[\"kwargs\"]['pk']."
    )


@pytest.mark.parametrize("loader", ["get_one", None])
def test_signature__of_a_method_that_wants_the_urls_arguments_points_to_the_view(loader):
    class Owner(View):
        """A view with such a method."""

        def get_one(self, request, pk):
            """A loader."""

    with pytest.raises(Misuse, match=r"from self\.kwargs\['pk'\]\.$"):
        PartList([("a", 1), ("b", lazy(loader or Owner().get_one))], owner=Owner)


@pytest.mark.parametrize(
    ("depends_on", "function", "written"),
    [
        ([], lambda request, a: 1, '["a"]'),
        ([], lambda request, ab, a: 1, '["ab", "a"]'),
        (["a"], lambda request, a, ab: 1, '["a", "ab"]'),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("where", ["loader", "kwargs", "query"])
def test_signature__that_wants_other_parts_names_depends_on(depends_on, function, written, where):
    loader = function if where == "loader" else endpoint("some-list", **{where: function})
    parts = [("a", 1), ("ab", 2), ("b", lazy(loader, depends_on=depends_on))]
    with pytest.raises(Misuse) as caught:
        PartList(parts, owner=type("Own", (View,), {}))
    subject = "the loader" if where == "loader" else f"the function {where}"
    assert str(caught.value).startswith(f"Own: {subject} of part 'b' cannot be called as (request")
    assert str(caught.value).endswith(f". Write lazy(..., depends_on={written}).")


@pytest.mark.parametrize("where", ["kwargs", "query"])
def test_signature__of_an_endpoints_function_says_what_to_change(where):
    loader = endpoint("some-list", **{where: lambda request, pk: {}})
    with pytest.raises(Misuse) as caught:
        PartList([("b", lazy(loader))], owner=type("Own", (View,), {}))
    assert str(caught.value).endswith("from request.parser_context[\"kwargs\"]['pk'].")


def test_part_list__a_coroutine_is_refused():
    coroutine = load_async(None)
    try:
        with pytest.raises(Misuse) as caught:
            PartList([("a", coroutine)], owner=View)
    finally:
        coroutine.close()
    assert str(caught.value) == (
        "View: part 'a' is a coroutine. Pass the function without calling it: lazy(...)."
    )


def test_part_list__a_circle_is_named():
    pairs = [
        ("first", 1),
        ("a", lazy(lambda request, c: 1, depends_on=["c"])),
        ("b", lazy(lambda request, a: 1, depends_on=["a"])),
        ("c", lazy(lambda request, b: 1, depends_on=["b"])),
    ]
    with pytest.raises(Misuse) as caught:
        PartList(pairs, owner=View)
    message = str(caught.value)
    circles = ("a -> c -> b -> a", "c -> b -> a -> c", "b -> a -> c -> b")
    assert any(circle in message for circle in circles)
    assert "Remove one dependency." in message


def test_part_list__a_dependency_may_be_declared_later():
    parts = PartList([("b", lazy(load_one, depends_on=["a"])), ("a", 1)])
    assert parts.layout.closure(["b"]) == ["a", "b"]


@pytest.mark.parametrize("depends_on", [[1], [None], [["a"]], [{}]])
def test_part_list__a_dependency_of_another_kind_is_refused(depends_on):
    with pytest.raises(Misuse) as caught:
        PartList([("a", 1), ("b", lazy(load, depends_on=depends_on))], owner=View)
    assert str(caught.value).startswith("View: ")


def test_part_list__takes_2000_parts_and_no_more():
    assert len(PartList([(f"p{number}", number) for number in range(2000)])) == 2000
    with pytest.raises(Misuse) as caught:
        PartList([(f"p{number}", number) for number in range(2001)], owner=View)
    assert str(caught.value) == "View: 2001 parts are declared. The maximum is 2000."


def test_part_list__a_permission_may_be_composed():
    pairs = [("a", lazy(load, permission_classes=[IsAdminUser | IsAuthenticated]))]
    assert PartList(pairs, owner=View).layout.guarded


def test_part_list__values_may_be_anything_that_is_no_function():
    values = [None, 0, "", [], {}, {1, 2}, object(), range(3), Exception("x")]
    assert len(PartList([(f"p{index}", value) for index, value in enumerate(values)])) == 9


# Loaders' signatures


@pytest.mark.parametrize(
    "func",
    [
        load,
        load_async,
        View().get,
        View.get_static,
        View.get_class,
        Callable(),
        functools.partial(load_one, a=1),
        lambda *args: None,
        lambda request, **kwargs: None,
        lambda request, a=1: None,
        dict,
        safe_call(load, []),
        *("get", "get_static", "get_class", "get_covered"),
        *(safe_call("get", []), safe_call("get_static", None)),
    ],
    ids=itertools.count(),
)
def test_signature__is_taken(func):
    assert len(PartList([("p", lazy(func))], owner=View)) == 1


@pytest.mark.parametrize(
    "func", [load_one, View().get_a, "get_a", lambda request, **kwargs: 1], ids=itertools.count()
)
def test_signature__takes_its_dependencies(func):
    assert len(PartList([("a", 1), ("b", lazy(func, depends_on=["a"]))], owner=View)) == 2


@pytest.mark.parametrize(
    ("part", "wanted", "problem"),
    [
        (lazy(lambda: 1), "(request)", "too many positional arguments"),
        (lazy(load_one), "(request)", "missing a required argument: 'a'"),
        (lazy("get_a"), "(request)", "missing a required argument: 'a'"),
        (lazy("get_nothing"), "(request)", "too many positional arguments"),
        (lazy(View().get_nothing), "(request)", "too many positional arguments"),
        (lazy(safe_call(load_one, [])), "(request)", "missing a required argument: 'a'"),
        (lazy(load, depends_on=["a"]), "(request, a)", "unexpected keyword argument 'a'"),
        (lazy("get", depends_on=["a"]), "(request, a)", "unexpected keyword argument 'a'"),
        (
            lazy(lambda request, a, /: 1, depends_on=["a"]),
            "(request, a)",
            "'a' parameter is positional only",
        ),
    ],
)
def test_signature__that_does_not_fit_names_view_part_and_fix(part, wanted, problem):
    class Owner(View):
        """One of its own: the loaders of a layout are looked at once a class."""

    with pytest.raises(Misuse) as caught:
        PartList([("a", 1), ("b", part)], owner=Owner)
    message = str(caught.value)
    assert message.startswith(f"Owner: the loader of part 'b' cannot be called as {wanted}: ")
    if "positional only" not in problem:  # Its words differ between Pythons.
        assert problem in message
    advice = f"Change its parameters to {wanted}, or change depends_on."
    if problem.startswith("missing"):
        advice = 'Write lazy(..., depends_on=["a"]).'
    assert message.endswith(advice)


def test_signature__of_a_method_without_its_view_suggests_the_name():
    class Owner(View):
        """One of its own: the loaders of a layout are looked at once a class."""

    with pytest.raises(Misuse) as caught:
        PartList([("b", lazy(View.get))], owner=Owner)
    assert str(caught.value) == (
        "Owner: the loader of part 'b' is a method that is not bound to a view. "
        "Write its name: lazy('get')."
    )


def test_signature__of_a_function_that_takes_self():
    def get_orders(self, request):
        """A method, in the wrong place."""

    get_orders.__qualname__ = "get_orders"  # As in a module.
    with pytest.raises(Misuse) as caught:
        PartList([("b", lazy(get_orders))], owner=type("Own", (View,), {}))
    assert str(caught.value) == (
        "Own: the loader of part 'b' takes self, but get_orders is not a method. Remove self from "
        "its parameters, or define it in the view's class and write its name: lazy('get_orders')."
    )


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lazy, "lazy() takes a loader, not a lazy part. Write lazy() once."),
        (
            cached_for(60),
            "cached_for() takes a loader, not a lazy part. Write lazy(cached_for(60)(loader)).",
        ),
        (
            lambda part: safe_call(part, fallback=[]),
            "safe_call() takes a loader, not a lazy part. "
            "Write lazy(safe_call(loader, fallback=...)).",
        ),
        (
            lambda part: with_timeout(part, 1),
            "with_timeout() takes a loader, not a lazy part. "
            "Write lazy(with_timeout(loader, seconds)).",
        ),
    ],
    ids=itertools.count(),
)
def test_wrappers__around_a_lazy_part_name_the_right_order(wrap, says):
    with pytest.raises(Misuse) as caught:
        wrap(lazy(load))
    assert str(caught.value) == says


def test_method__that_is_a_lazy_part_is_refused():
    class Owner(View):
        """A view with a part in place of a method."""

        get_orders = lazy(load)

    with pytest.raises(Misuse, match=r"'get_orders' takes a loader, not a lazy part\. Define a"):
        PartList([("b", lazy("get_orders"))], owner=Owner)


def test_signature__is_looked_at_again_for_other_dependencies():
    PartList([("a", 1), ("b", lazy(load_one, depends_on=["a"]))], owner=View)
    with pytest.raises(Misuse, match="missing a required argument"):
        PartList([("a", 1), ("b", lazy(load_one))], owner=View)


@pytest.mark.parametrize("part", [lazy("get_covered"), lazy(safe_call("get", [1]))])
def test_method__may_have_a_fallback_wherever_it_is_named(part):
    PartList([("a", part)], owner=View)
    view = View()
    loader = part.bound_loader(view)
    assert loader.has_fallback
    assert loader.function == view.get
    assert part.bound_loader(View()).function != view.get


def test_method__with_two_fallbacks_is_refused():
    class Owner(View):
        """One of its own: the loaders of a layout are looked at once a class."""

    with pytest.raises(Misuse) as caught:
        PartList([("a", lazy(safe_call("get_covered", [])))], owner=Owner)
    assert str(caught.value).startswith("Owner: part 'a': ")
    assert "a loader can have one fallback. Keep one of them." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (safe_call("get_lost", []), "the view has no method 'get_lost'. Define get_lost("),
        ("get_lost", "the view has no method 'get_lost'. Define get_lost(self, request)."),
        ("number", "Owner: part 'a': the method 'number' takes a function of (request), not int."),
    ],
)
def test_method__that_is_none_is_refused(name, says):
    class Owner(View):
        """One of its own: the loaders of a layout are looked at once a class."""

    with pytest.raises(Misuse) as caught:
        PartList([("a", lazy(name))], owner=Owner)
    assert says in str(caught.value)
    assert str(caught.value).startswith("Owner: part 'a'")


def inject(function):
    @functools.wraps(function)
    def inner(request, **dependencies):
        return function(request, tenant="T", **dependencies)

    return inner


@inject
def of_tenant(request, tenant):
    return tenant


def test_signature__of_a_decorator_that_gives_more_counts():
    PartList([("a", lazy(of_tenant))], owner=ProgressiveView)


@pytest.mark.parametrize(
    ("permission", "says"),
    [
        (IsAdminUser(), "write the class, not a call, for example"),
        ("sales.view_order", "write a class, not a string, for example"),
        (None, "write the class, not a call, for example"),
    ],
)
def test_lazy__refuses_what_is_no_permission_class(permission, says):
    with pytest.raises(Misuse, match=says):
        lazy(print, permission_classes=[permission])


def test_lazy__refuses_dependencies_that_are_no_list():
    with pytest.raises(Misuse, match="write a list"):
        lazy(print, depends_on=None)


def test_part__copied_after_its_use_has_no_fallback():
    part = lazy(len)
    part.bound_loader(None)
    assert not copy.deepcopy(part).bound_loader(None).has_fallback


def test_views__that_are_gone_are_not_kept():
    view = type("Gone", (ProgressiveView,), {"get_parts": lambda self: [("a", 1)]})
    PartList([("a", 1)], owner=view)
    _make_layout.cache_clear()
    reference = weakref.ref(view)
    del view
    gc.collect()
    assert reference() is None


# The options of lazy()


NO_LISTS = [
    "",
    "meta",
    None,
    0,
    1,
    False,
    {},
    {"meta": 1},
    set(),
    b"",
    iter(()),
    range(0),
    object(),
]


@pytest.mark.parametrize("wrong", NO_LISTS, ids=itertools.count())
@pytest.mark.parametrize("option", ["depends_on", "permission_classes"])
@pytest.mark.parametrize(
    "others",
    [{}, {"depends_on": []}, {"permission_classes": ()}, {"serializer_class": Serializer}],
    ids=lambda others: next(iter(others), "alone"),
)
def test_lazy__refuses_links_that_are_no_list_however_empty(option, wrong, others):
    with pytest.raises(Misuse, match=r"^lazy\(" + option + ".*write a list"):
        lazy(load, **{**others, option: wrong})


@pytest.mark.parametrize("depends_on", [(), [], ["a"], ("a", "b")])
@pytest.mark.parametrize("size", [None, "", "small"])
@pytest.mark.parametrize(
    ("serializer_class", "many"), [(None, False), (Serializer, False), (Serializer, True)]
)
@pytest.mark.parametrize("permission_classes", [(), [], [IsAdminUser]])
@pytest.mark.parametrize("timeout", [None, 5])
def test_lazy__has_the_options_that_it_was_given(
    depends_on, size, serializer_class, many, permission_classes, timeout
):
    part = lazy(
        load,
        depends_on=depends_on,
        size=size,
        timeout=timeout,
        serializer_class=serializer_class,
        many=many,
        permission_classes=permission_classes,
    )
    assert part.depends_on == tuple(depends_on)
    assert part.permission_classes == tuple(permission_classes)
    assert (part.size, part.serializer_class, part.many) == (size, serializer_class, many)
    loader = part.bound_loader(View())
    assert (loader.function, loader.timeout) == (load, timeout)
    # Only these may have links.
    assert isinstance(part, LinkedPart) is bool(depends_on or permission_classes)
    copied = copy.deepcopy(part)
    assert vars(copied).keys() == vars(part).keys()
    assert (copied.depends_on, copied.size) == (part.depends_on, part.size)


@pytest.mark.parametrize(
    "links", [{}, {"depends_on": ["a"]}, {"permission_classes": [IsAdminUser]}]
)
@pytest.mark.parametrize("many", [True, 1, "yes"])
def test_lazy__refuses_many_without_a_serializer(links, many):
    with pytest.raises(Misuse, match="needs a serializer_class"):
        lazy(load, many=many, **links)


THREADS = "partstream.backends.executors.threads.ThreadExecutor"


@pytest.mark.parametrize(
    "executor",
    [THREADS, {"BACKEND": THREADS}, {"BACKEND": THREADS, "OPTIONS": {}}, ThreadExecutor()],
)
@pytest.mark.parametrize("links", [{}, {"depends_on": ["a"], "permission_classes": [IsAdminUser]}])
def test_lazy__keeps_its_executor(executor, links):
    part = lazy(load, executor=executor, size="small", timeout=5, **links)
    assert part.executor is executor
    assert part.depends_on == tuple(links.get("depends_on", ()))
    assert part.permission_classes == tuple(links.get("permission_classes", ()))
    assert (part.size, part.bound_loader(View()).timeout) == ("small", 5)
    assert PartList([("a", 1), ("b", part)]).layout.has_executors
    assert not PartList([("a", 1), ("b", lazy(load, **links))]).layout.has_executors


@pytest.mark.parametrize(
    "executor",
    ["", "nodots", 7, True, ThreadExecutor, [THREADS], {"OPTIONS": {}}, {"BACKEND": 1}, ...],
    ids=repr,
)
def test_lazy__refuses_what_names_no_executor(executor):
    with pytest.raises(Misuse) as caught:
        lazy(load, executor=executor)
    assert str(caught.value) == (
        f'lazy(executor={executor!r:.80}): write a dotted path, for example "{THREADS}", or '
        '{"BACKEND": path, "OPTIONS": {...}}, or an instance of an executor.'
    )


@pytest.mark.parametrize("links", [{}, {"depends_on": ["a"]}])
@pytest.mark.parametrize("timeout", [0, -1, "", "5", False, float("nan")])
def test_lazy__refuses_a_wrong_timeout(links, timeout):
    with pytest.raises(Misuse, match=r"lazy\(timeout="):
        lazy(load, timeout=timeout, **links)


def test_part__its_options_are_its_own():
    parts = [lazy(load, size="small"), lazy(load), lazy(load, serializer_class=Serializer)]
    assert [part.size for part in parts] == ["small", None, None]
    assert [part.serializer_class for part in parts] == [None, None, Serializer]
    assert LazyPart.size is LazyPart.serializer_class is None


def test_part__equals_itself_alone():
    part, other = lazy(load), lazy(load)
    assert part == part
    assert part != other
    assert len({part, other, part}) == 2


# Parts that are kept for several requests


class Keeping(ProgressiveView):
    def get_mine(self, request):
        return request.user.get_username()


def test_loader_of__a_method_of_another_requests_view_is_refused():
    first, second = Keeping(), Keeping()
    part = lazy(safe_call(first.get_mine, fallback=None))
    kept = PartList([("mine", part)], owner=Keeping)
    assert kept.loader_of("mine", part, first).function == first.get_mine
    with pytest.raises(Misuse) as caught:
        kept.loader_of("mine", part, second)
    assert str(caught.value) == (
        "Keeping: the loader of part 'mine' belongs to the view of another request, whose user and "
        "arguments it would use. A part that is kept for several requests must name the method: "
        "lazy('get_mine')."
    )


def test_loader_of__a_method_of_another_class_is_taken():
    class Other(Keeping):
        pass

    part = lazy(Keeping().get_mine)
    assert PartList([("mine", part)], owner=Other).loader_of("mine", part, Other())


def test_loader_of__a_method_by_name_is_that_of_each_view():
    part, first, second = lazy("get_mine"), Keeping(), Keeping()
    kept = PartList([("mine", part)], owner=Keeping)
    for view in (first, second):
        assert kept.loader_of("mine", part, view).function.__self__ is view
