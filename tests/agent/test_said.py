"""Rows say which of their fields rest on what the agent says of itself."""

from __future__ import annotations

from dataclasses import fields

from agent.config.config import Config
from agent.rollouts.jobs import PLAYER, Job
from agent.rollouts.parcel import sealed
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import SAID_BY_AGENT, Row
from benchmarks.players import scripted

SMALL = {"horizon": 4, "budget": {"evaluations": 8}, "params": {"iterations": 1, "knots": 2, "elites": 2}}


def row(play: str) -> Row:
    config = Config.model_validate(
        {"task": "dm_control/pendulum-swingup-v0", "planner": SMALL, "frames": 2, "threads": 1, "video": False}
    )
    (outcome,) = Serial().run([Job(sealed(config), 0, play)], [].append, lambda: False)
    return outcome.played.row


def test_a_row_names_what_the_agent_says_of_itself() -> None:
    found = row(PLAYER)
    assert set(found.said_by_agent) == {*SAID_BY_AGENT} - {"real_time"}
    assert set(SAID_BY_AGENT) <= {field.name for field in fields(Row)}
    assert Row.parse(found.line(), "row") == found


def test_without_an_agent_it_says_nothing() -> None:
    found = row(scripted.RANDOM)
    assert found.said_by_agent == []
    assert "said_by_agent" not in found.values()
    assert Row.parse(found.line(), "row") == found
