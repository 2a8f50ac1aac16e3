from __future__ import annotations

import copy

import pytest
from perdure._errors import InvalidFilter
from perdure.filters import Compare, Contains, F, In, IsNull, Not, Or, Path, StartsWith

CODE = Path("content", ("error", "code"))


def test_operators_make_comparisons() -> None:
    made = [F.tier == 1, F.tier != 1, F.tier < 1, F.tier <= 1, F.tier > 1, F.tier >= 1, 1 < F.tier]  # noqa: SIM300
    ops = ["eq", "ne", "lt", "le", "gt", "ge", "gt"]
    assert made == [Compare(Path("tier"), op, 1) for op in ops]  # type: ignore[arg-type]


def test_attributes_and_items_reach_into_values() -> None:
    assert (F.content.error.code == 5) == (F["content"]["error"]["code"] == 5) == Compare(CODE, "eq", 5)
    assert F.content.items[-1].is_null() == IsNull(Path("content", ("items", -1)))
    assert F.content["contains"].is_null() == IsNull(Path("content", ("contains",)))
    assert repr(F.content["a"][0]) == "F.content['a'][0]"


def test_none_is_a_null_test() -> None:
    assert (F.kind == None) == IsNull(Path("kind"))  # noqa: E711
    assert (F.kind != None) == Not(IsNull(Path("kind")))  # noqa: E711
    with pytest.raises(InvalidFilter, match="is_null"):
        F.kind < None  # noqa: B015


def test_methods_make_tests() -> None:
    assert F.tags.contains("db") == Contains(Path("tags"), "db")
    assert F.title.starts_with("a") == StartsWith(Path("title"), "a")
    assert F.tier.is_in(range(3)) == In(Path("tier"), (0, 1, 2))
    assert F.tier.is_in([1, None]) == Or((In(Path("tier"), (1,)), IsNull(Path("tier"))))
    assert F.tier.is_in([]) == In(Path("tier"), ())


@pytest.mark.parametrize("values", ["abc", b"abc", 5, None])
def test_in_takes_a_list(values: object) -> None:
    with pytest.raises(InvalidFilter, match="list of values"):
        F.kind.is_in(values)  # type: ignore[arg-type]


def test_a_field_is_no_container_number_or_truth() -> None:
    with pytest.raises(InvalidFilter, match="contains"):
        "db" in F.tags  # noqa: B015
    with pytest.raises(InvalidFilter, match="truth"):
        bool(F.kind)
    with pytest.raises(InvalidFilter, match="parentheses"):
        F.a == 1 & F.b == 2  # noqa: B015
    for root in (F, F.content):
        with pytest.raises(TypeError):
            list(root)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        hash(F.kind)


def test_private_names_are_not_fields() -> None:
    with pytest.raises(AttributeError):
        _ = F.__wrapped__
    with pytest.raises(AttributeError):
        _ = F.content._x
    assert copy.deepcopy(F.content).is_null() == F.content.is_null()


def test_a_method_that_fields_lack_is_told_apart_from_a_path() -> None:
    with pytest.raises(InvalidFilter, match="is_in"):
        F.kind.isin(["a"])
