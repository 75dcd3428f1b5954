"""Reads rows of schema 4, which have a CRC but no digests, so that they cannot be verified."""

from __future__ import annotations

import zlib

from agent.rollouts.row import Row, changed, json_row, to_json

SINCE = {"gate": "simulator", "model_sha256": "", "goal": "", "diverged": False, "diverged_candidates": 0}
"""Fields that schema 5 added, with their values for runs of schema 4 (which did not detect a diverged world)."""


def parse(line: str | bytes, where: str) -> Row:
    """Read a row of schema 4 as a `Row` without digests.

    Raises:
        TelosError: the line is not such a row, or its CRC does not match.
    """
    data = json_row(line, where)
    if data.pop("crc32", None) != zlib.crc32(to_json(data).encode()):
        raise changed(where)
    if "physics_steps_per_decision" in data:
        data["model_steps_per_decision"] = data.pop("physics_steps_per_decision")
    return Row.of_values({**SINCE, "steps_sha256": "", "run_sha256": "", **data}, where)
