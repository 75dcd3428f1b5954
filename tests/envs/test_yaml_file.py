"""YAML as people write it, and back."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import yaml_file


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


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_what_is_written_is_read_back(content: object) -> None:
    assert yaml_file.parse(yaml_file.dump({"value": content})) == {"value": content}


@given(st.floats(allow_nan=False))
def test_every_number_is_read_back(value: float) -> None:
    assert yaml_file.parse(yaml_file.dump([value, repr(value)])) == [value, repr(value)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_json_are_read(value: float) -> None:
    assert yaml_file.parse(json.dumps([value])) == [value]
