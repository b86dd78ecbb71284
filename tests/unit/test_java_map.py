"""The text that Java makes of an object is read back; what cannot be told for certain is said to be doubtful."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.envelopes.java_map import JavaMap, read
from tests.unit.shipped import java

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Sid": "a, b=c}]}, ", "Effect": "Allow", "Action": "*"}]}'


def whole(text: str) -> dict[str, Any]:
    """The values of a text about which there is no doubt."""
    found = read(text)
    assert found is not None
    assert found == JavaMap(found.values, closed=True)
    return found.values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{}", {}),
        ("{name=alice}", {"name": "alice"}),
        (" {name=alice}\n", {"name": "alice"}),
        ("{a=1, b=, c=null, d=[], e={}, f=true}", {"a": "1", "b": "", "c": None, "d": [], "e": {}, "f": "true"}),
        ("{a=[x, y], b=[[x], [y, z]], c=[{}]}", {"a": ["x", "y"], "b": [["x"], ["y", "z"]], "c": [{}]}),
        ("{a={b={c=1}, d=2}, e=3}", {"a": {"b": {"c": "1"}, "d": "2"}, "e": "3"}),
        ("{name=a,b=c,=, x=1}", {"name": "a,b=c,=", "x": "1"}),
        ("{expiration=Nov 30, 2024, 8:43:17 PM, x=1}", {"expiration": "Nov 30, 2024, 8:43:17 PM", "x": "1"}),
        ("{token=ab+/cd==, x=1}", {"token": "ab+/cd==", "x": "1"}),
        (f"{{policyArns=[{{arn={ADMIN}}}], x=1}}", {"policyArns": [{"arn": ADMIN}], "x": "1"}),
        (f"{{policy={POLICY}, x=1}}", {"policy": POLICY, "x": "1"}),
        (f"{{x=1, policy={POLICY}}}", {"x": "1", "policy": POLICY}),
        (f"{{policy={POLICY} \n, x=1}}", {"policy": POLICY, "x": "1"}),
        (
            "{policy={Version=2012-10-17, Statement=[{Action=*}]}, x=1}",
            {"policy": {"Version": "2012-10-17", "Statement": [{"Action": "*"}]}, "x": "1"},
        ),
        (
            f"{{p=[{{arn=arn:x/a}}], [b={{c}}, {{arn={ADMIN}}}]}}",
            {"p": [{"arn": "arn:x/a}], [b={c"}, {"arn": ADMIN}]},
        ),
    ],
)
def test_a_whole_text_is_read(text: str, values: dict[str, Any]) -> None:
    assert whole(text) == values


@pytest.mark.parametrize(
    "text",
    ["", "{", "}", "name=alice", "[a, b]", "{alice}", '{"name": "alice"}', '{"name"=>"alice"}', "{=1}", "null"],
)
def test_other_text_is_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "values", "cut"),
    [
        ("{name=alice", {"name": "alice"}, "name"),
        ("{name=alice, durationSeconds=1296", {"name": "alice", "durationSeconds": "1296"}, "durationSeconds"),
        ("{name=alice, dur", {"name": "alice, dur"}, "name"),
        (f"{{p=[{{arn={ADMIN}", {"p": [{"arn": ADMIN}]}, "p"),
        (f"{{p=[{{arn={ADMIN}}}", {"p": [{"arn": ADMIN}]}, "p"),
        (f"{{p=[{{arn={ADMIN}}}]", {"p": [{"arn": ADMIN}]}, None),
        (f"{{policy={POLICY}", {"policy": POLICY}, None),
        ("{a=b} and more", {"a": "b} and more"}, "a"),
        ("{a={b=1}c, x=1}", {"a": {"b": "1}c", "x": "1"}}, None),
        ("{a=[b]c, x=1}", {"a": ["b]c", "x=1}"]}, "a"),
    ],
)
def test_a_text_that_ends_too_early_says_so(text: str, values: dict[str, Any], cut: str | None) -> None:
    assert read(text) == JavaMap(values, closed=False, cut=cut)


@pytest.mark.parametrize(
    ("text", "doubtful"),
    [
        ("{a=1, a=2}", {"a"}),
        ("{a={b=1, b=2}, c=3}", {"a"}),
        ('{policy={"Statement": broken, x=1}', {"policy"}),
        (f"{{policy={POLICY}}}, x=1}}", {"policy"}),
        ("{a={b c}, x=1}", {"a"}),
    ],
)
def test_what_cannot_be_told_is_doubtful(text: str, doubtful: set[str]) -> None:
    found = read(text)
    assert found is not None
    assert found.doubtful == doubtful


def test_a_key_behind_a_doubtful_one_is_still_read() -> None:
    found = read('{policy={"Statement": broken, durationSeconds=129600}')
    assert found is not None
    assert found.values["durationSeconds"] == "129600"


keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_.:-]{0,9}", fullmatch=True)
scalars = st.from_regex(r"[\w+=,.@:/*-]{0,12}", fullmatch=True).filter(lambda text: text not in ("", "null"))
values = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_what_the_api_allows_is_read_back(map_: dict[str, Any]) -> None:
    """Names, ARNs, times and tokens hold commas and equals signs, but neither brackets nor a comma and a blank."""
    assert whole(java(map_)) == map_


@given(st.dictionaries(keys, values, min_size=1, max_size=4), st.data())
def test_a_cut_text_is_never_taken_for_whole(map_: dict[str, Any], data: st.DataObject) -> None:
    text = java(map_)
    found = read(text[: data.draw(st.integers(0, len(text) - 1))])
    assert found is None or not found.closed


@given(st.text('{}[]=,: "ab\\\n', max_size=60))
def test_any_play_of_brackets_is_read_or_not(text: str) -> None:
    for tried in (text, "{a=" + text, "{a=" + text + "}"):
        found = read(tried)
        assert found is None or isinstance(found.values, dict)


@pytest.mark.parametrize(
    "text",
    [
        "{a=" * 100_000,
        "{a=[" * 100_000,
        "{a=" + "}" * 300_000 + ",",
        "{a=" + "}]" * 200_000 + ", ",
        "{a=" + ", " * 200_000,
        '{a=[{"k":["x", ' + '{"k":["x", ' * 50_000,
        '{a={"' + '\\"' * 200_000,
        '{a={"x, b={"' * 50_000,
        "{a=" + "[" * 200_000,
        '{a={"b":' + "[" * 100_000,
    ],
    ids=lambda text: repr(text[:16]),
)
def test_hostile_text_is_read_in_good_time(text: str) -> None:
    """Not asserted but for the test's own timeout: time that grows by the square would exceed it."""
    found = read(text)
    assert found is not None
    assert not found.closed
