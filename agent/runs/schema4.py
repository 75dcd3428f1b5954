"""Rows of schema 4, which have a CRC and no digests: they can be read, and never verified."""

from __future__ import annotations

import zlib

from agent.rollouts.row import Row, changed, json_row, to_json

SINCE = {"gate": "simulator", "model_sha256": "", "goal": "", "diverged": False, "diverged_candidates": 0}
"""Fields that schema 5 added, as they were for every run of schema 4 (where a diverged world was not noticed)."""


def parse(line: str | bytes, where: str) -> Row:
    """A row of schema 4 as one of today, without digests.

    Raises:
        TelosError: no such row, or a changed one.
    """
    data = json_row(line, where)
    if data.pop("crc32", None) != zlib.crc32(to_json(data).encode()):
        raise changed(where)
    if "physics_steps_per_decision" in data:
        data["model_steps_per_decision"] = data.pop("physics_steps_per_decision")
    return Row.of_values({**SINCE, "steps_sha256": "", "run_sha256": "", **data}, where)
