"""Learned world models, and the agents that plan with them.

    telos bench worldmodels               measure what is missing, then print the tables
    telos bench worldmodels --table
    telos bench worldmodels --only goals --arms jepa random --seeds 0..2

What `goals`, `ablation`, `rewards` and `kills` measure stands in the file of that name in benchmarks/worldmodels/. A
benchmark that is called again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.harness import rows
from benchmarks.planners.planners import SUITE
from benchmarks.worldmodels import ablation, goals, kills, rewards

PARTS = ("goals", "ablation", "rewards", "kills")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="telos bench worldmodels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument(
        "--out", type=rows.Path, default=rows.HERE / "worldmodels", help="folder of the rows, one file for each part"
    )
    parser.add_argument("--work", type=rows.Path, default=rewards.WORK, help="folder of the trainings (rewards)")
    parser.add_argument("--table", action="store_true", help="print the table of what there is, and measure nothing")
    parser.add_argument(
        "--arms", nargs="*", choices=(*goals.ARMS, *ablation.ARMS), default=[], help="of goals and ablation; all"
    )
    parser.add_argument("--tasks", nargs="*", choices=SUITE, default=list(SUITE), help="of rewards")
    parser.add_argument("--seeds", type=rows.seeds, default=(0, 1, 2), help="of trainings")
    parser.add_argument("--starts", type=rows.count, help="of goals and ablation; as the recipe says")
    parser.add_argument("--kills", type=rows.count, default=kills.KILLS, help="with SIGKILL, in all (kills)")
    options = parser.parse_args(argv)
    more = {} if options.starts is None else {"evaluate.goals.starts": options.starts}
    files = {part: options.out / f"{part}.jsonl" for part in options.only}
    if not options.table and "goals" in files:
        arms = [arm for arm in goals.ARMS if arm in options.arms or not options.arms]
        goals.measure(files["goals"], arms, options.seeds, more)
    if not options.table and "ablation" in files:
        arms = [arm for arm in ablation.ARMS if arm in options.arms or not options.arms]
        ablation.measure(files["ablation"], arms, options.seeds, more)
    if not options.table and "rewards" in files:
        rewards.measure(files["rewards"], options.tasks, options.seeds, options.work, {})
    if not options.table and "kills" in files:
        kills.measure(files["kills"], options.kills)
    tables = {"goals": goals.table, "ablation": ablation.table, "rewards": rewards.table, "kills": kills.table}
    for part, file in files.items():
        print(tables[part](rows.read(file)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
