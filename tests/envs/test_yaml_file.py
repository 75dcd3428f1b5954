"""YAML as people write it, and back."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import yaml_file
from envs.errors import TelosError


def refused(text: str) -> str:
    """The error message for text that cannot be read."""
    with pytest.raises(TelosError) as caught:
        yaml_file.content(text, "here", "a value")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "given", "allowed"),
    [
        ("010", "010, which YAML 1.1 reads as 8 (octal)", "8 or 10, or quotes for text"),
        ("-010", "-010, which YAML 1.1 reads as -8", "-8 or -10"),
        ("+0_10", "+0_10, which YAML 1.1 reads as 8", "8 or 10"),
        ("1:30", "1:30, which YAML 1.1 reads as 90 (base 60)", "90, or quotes"),
        ("-1:30", "-1:30, which YAML 1.1 reads as -90", "-90"),
        ("1:30.5", "1:30.5, which YAML 1.1 reads as 90.5", "90.5"),
        ("!!int '010'", "010, which", "8 or 10"),
        ("[{limit: 010}]", "010, which", "8 or 10"),
        ("{010: limit}", "010, which", "8 or 10"),
        ("&a 010", "010, which", "8 or 10"),
    ],
)
def test_numbers_that_nobody_means_are_refused(text: str, given: str, allowed: str) -> None:
    assert refused(text).startswith(f"here: given {given}")
    assert f"; allowed: {allowed}" in refused(text)


@pytest.mark.parametrize(
    ("text", "content"),
    [("'010'", "010"), ("08", "08"), ("0o10", "0o10"), ("0x10", 16), ("0b11", 3), ("1_000", 1000), ("07", 7)],
)
def test_numbers_that_have_one_meaning_are_read(text: str, content: object) -> None:
    assert yaml_file.parse(text) == content


def test_a_refusal_names_the_line() -> None:
    assert refused("seed: 1\nepisodes: 010").startswith("here:2: given 010")


@pytest.mark.parametrize(
    "text",
    [
        "<<: {guardrails: [1]}\nguardrails: []",
        "guardrails: []\n<<: {guardrails: [1]}",
        "<<: {<<: {guardrails: [1]}}\nguardrails: [2]",
        "<<: {back_up: {seconds: 1}}\nback_up: null",
        "<<: [{guardrails: [1]}, {guardrails: [2]}]",
        "a: &a {guardrails: [1]}\nb: {<<: *a, guardrails: []}",
        "a: &a {guardrails: [1]}\nb: &b {<<: *a}\nc: {<<: *b, guardrails: []}",
    ],
)
def test_a_merge_never_drops_a_rule(text: str) -> None:
    assert "in a merged mapping (<<) and again beside it" in refused(text)


def test_a_merge_may_bring_rules_and_fill_in_a_rule() -> None:
    text = "a: &a {guardrails: &rules [{<<: {kind: x, limit: 1}, limit: 2}]}\nb: {<<: *a, guardrails: *rules}"
    assert yaml_file.parse(text)["b"] == {"guardrails": [{"kind": "x", "limit": 2}]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a\\0b"', "U+0000"),
        ('{"\\ud800": 1}', "U+D800"),
        ("{a: " * 60 + "1" + "}" * 60, "more than 50 levels deep"),
        ("\n".join(["a0: &a0 []", *(f"a{i + 1}: &a{i + 1} [*a{i}]" for i in range(60))]), "more than 50 levels deep"),
        ("{a: " * 2000 + "1" + "}" * 2000, "nested too deeply"),
        ("!!bool x", "tag"),
        ("!!int ''", "tag"),
        ("!!timestamp x", "tag"),
        ("1" * 5000, "not YAML"),
    ],
)
def test_what_nothing_can_hold_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize("text", ["1e-7", "1E6", "+2e3", "-1.e2", ".5e1", "1.5e+03", "1.0e-7"])
def test_numbers_with_exponents_are_numbers(text: str) -> None:
    assert yaml_file.parse(f"value: {text}") == {"value": float(text)}


@pytest.mark.parametrize("text", ["e5", "1e", "1e5x", "'1e5'", "0x1e5z", "1e5e5", "."])
def test_what_only_looks_like_one_is_text(text: str) -> None:
    assert isinstance(yaml_file.parse(f"value: {text}")["value"], str)


def laughs(levels: int) -> str:
    """Lists of ten aliases of lists of ten aliases of …"""
    names = [f"a{level}" for level in range(levels)]
    lines = [f"{a}: &{a} [{', '.join([f'*{b}'] * 10)}]" for b, a in pairwise(names)]
    return "\n".join(["a0: &a0 [x]", *lines])


@pytest.mark.parametrize("text", [laughs(20), "a: &a [*a]", "a: &a {b: {c: *a}}", f"a: &a {'x' * 50_000}\nb: [*a, *a]"])
def test_aliases_without_end_are_refused(text: str) -> None:
    with pytest.raises(yaml_file.MISTAKES, match="aliases that stand for more than 100,000 characters, in line"):
        yaml_file.parse(text)


def test_aliases_and_merge_keys_are_read() -> None:
    text = f"{laughs(4)}\nbase: &base {{x: 1, y: 2}}\nmore: {{<<: *base, x: 3}}"
    found = yaml_file.parse(text)
    assert found["a3"][9][9][9] == ["x"]
    assert found["more"] == {"x": 3, "y": 2}


WRITABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.none() | st.booleans() | st.integers() | WRITABLE


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)))
def test_what_is_written_is_read_back(content: object) -> None:
    assert yaml_file.parse(yaml_file.dump({"value": content})) == {"value": content}


@given(st.floats(allow_nan=False))
def test_every_number_is_read_back(value: float) -> None:
    assert yaml_file.parse(yaml_file.dump([value, repr(value)])) == [value, repr(value)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_json_are_read(value: float) -> None:
    assert yaml_file.parse(json.dumps([value])) == [value]
