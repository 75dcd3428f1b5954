"""A failure says where, what was given, what is allowed, and the nearest match."""

from __future__ import annotations

import pickle

import pytest

from envs import registry
from envs.errors import TelosError
from envs.physics import signals
from envs.requests import Request


def test_an_unknown_task_gives_the_nearest_match():
    with pytest.raises(TelosError) as caught:
        registry.load("dm_control/walker-wlak-v0")
    assert caught.value.nearest == "dm_control/walker-walk-v0"
    message = str(caught.value)
    for part in (
        "task",
        "given 'dm_control/walker-wlak-v0'",
        "allowed: ",
        "did you mean 'dm_control/walker-walk-v0'?",
    ):
        assert part in message


def test_an_error_survives_pickling():
    error = TelosError.unknown("fruit", "appel", ["apple", "pear"])
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.nearest == "apple"


def test_a_long_list_of_the_allowed_is_cut():
    error = TelosError.unknown("letter", "z", [f"name{i}" for i in range(100)])
    assert "(100 in all)" in str(error)
    assert error.nearest is None


def test_an_unknown_body_gives_the_nearest_match():
    spec = registry.load("dm_control/walker-stand-v0").spec()
    with pytest.raises(TelosError, match="did you mean 'torso'"):
        signals.check(spec, Request("body_position/torzo", "state"))


def test_an_unknown_kind_of_signal_gives_the_nearest_match():
    spec = registry.load("dm_control/walker-stand-v0").spec()
    with pytest.raises(TelosError, match="did you mean 'body_position'"):
        signals.check(spec, Request("body_positoin/torso", "state"))


def test_only_frames_can_be_rendered():
    with pytest.raises(TelosError, match="rgb_array"):
        registry.make("dm_control/pendulum-swingup-v0", render_mode="human")
