"""`telos explain`: the candidates, costs and margins behind one decision.

Candidates are not stored. The episode runs again up to the decision, and its actions are compared bit for bit with the
recorded ones. If they are equal, the candidates shown are those of the recorded decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from agent.agent import Decision
from agent.reports.explanation import Explanation
from agent.rollouts import episode as episodes
from agent.rollouts.player import made
from agent.rollouts.row import Steps
from agent.runs import integrity
from agent.runs.rundir import RunDir
from envs.errors import TelosError
from envs.files import write
from planners.capabilities import Charted
from planners.problem import Population
from planners.search.select import Scores, order

BEST = 8  # number of best candidates shown; named candidates are shown in any case
PANELS = 4  # maximum number of coordinates drawn of a tree
COLUMNS = 4  # maximum number of guardrails in the table; those to which the published plan comes closest


def explain(rundir: RunDir, episode: int, step: int, console: Console) -> Explanation:
    """Run one episode again up to a decision.

    Raises:
        TelosError: there is no such episode or step, the run's files do not fit each other, or the planner keeps no
            candidates.
    """
    integrity.insist_verifiable(rundir, "explained")
    rules = integrity.rules_of(rundir)
    finished = {row.episode: row for row in rundir.rows()}
    if episode not in finished:
        given = f"{episode}" if finished else f"{episode}, none has finished"
        raise TelosError("explain --episode", given, _spans(list(finished)) or "a finished episode")
    recorded = integrity.checked(rundir, finished[episode], rules)
    if not 0 <= step < len(recorded):
        raise TelosError("explain --step", step, f"0 to {len(recorded) - 1}")
    torch.set_num_threads(1)
    agent, world = made(rundir.config)
    decisions: list[Decision] = []  # the last two

    def witness(_: int, decision: Decision) -> None:
        decisions[:] = [*decisions[-1:], decision]
        progress.advance(task)

    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"running episode {episode} again", total=step + 1)
            result = episodes.run(agent, world, *rundir.config.place(episode), step + 1, witness=witness)
    finally:
        world.env.close()
    decision = decisions[-1]
    age = round(decision.age / agent.model.dt)
    if age and rundir.config.real_time is None:
        given = f"{step}, which executes action {age} of the plan of step {step - age}"
        raise TelosError("explain --step", given, f"{step - age}, a step with a plan of its own")
    population = decision.plan.population
    if population is None:
        raise TelosError(f"planner {decision.planner}", "no population", "a planner that keeps its candidates")
    replayed = Steps.of(result, recorded.start, world.env.interface.control_period)
    same = np.array_equal(replayed.action, recorded.action[: step + 1])
    violation = population.violation.numpy()
    return Explanation(
        episode=episode,
        step=step,
        decision=decision,
        replayed=replayed,
        same=same,
        exact=rundir.config.planner.budget.seconds is None and rundir.config.real_time is None,
        ranked=tuple(order(Scores(violation, population.cost.numpy())).tolist()),
        violation=violation,
        named=_named(decision, population, decisions[-2].plan.actions if step else None),
    )


def show(rundir: RunDir, episode: int, step: int, console: Console) -> int:
    """Print the explanation, write its pictures into the run directory, and return the exit status."""
    found = explain(rundir, episode, step, console)
    plan = found.decision.plan
    seconds = step * float(found.replayed.control_period)
    say(console, f"{rundir.config.task}, {found.decision.planner}, episode {episode}, step {step} ({seconds:.2f} s)")
    if found.same:
        say(console, f"re-run: all {step + 1} actions equal the recorded ones bit for bit")
    elif not found.exact:
        say(console, "re-run: the actions differ from the recorded ones, as seconds or real time let the clock decide")
    else:
        say(console, "re-run: THE ACTIONS DIFFER from the recorded ones: other versions or another machine?")
    feasible = int(found.population.feasible.sum())
    finite = int(torch.isfinite(found.population.cost).sum())
    say(
        console,
        f"{len(found.ranked)} candidates in {plan.statistics.iterations} iterations over "
        f"{found.decision.problem.horizon} steps: {feasible} feasible, {finite - feasible} break a guardrail, "
        f"{len(found.ranked) - finite} diverged",
    )
    console.print(_table(found), highlight=False, markup=False)
    if len(found.decision.problem.judge.guardrails) > COLUMNS:
        say(console, f"(margins of the {COLUMNS} guardrails that the published plan comes closest to)")
    say(console, _why(found))
    action = np.array2string(found.executed, precision=4, separator=", ", threshold=40)
    if found.intervened:
        say(console, f"gate: refused the plan's first action ({found.replayed.reasons[-1]}); the fallback acts")
    else:
        judged = rundir.manifest.safe_stop and len(found.decision.problem.judge.guardrails)
        stop = ", and every margin holds until the safe stop" if judged else ""
        say(console, f"gate: passed{stop}")
    say(console, f"executed: {action}")
    path = rundir.path / f"explain-{episode}-{step}.png"
    if _drawn(path, lambda: picture(found), console):
        say(console, f"picture: {path}")
    _tree(rundir, found, console)
    return 0 if found.same or not found.exact else 1


def _tree(rundir: RunDir, found: Explanation, console: Console) -> None:
    """Draw the search tree, if the planner grew one and the model's joints are all hinges and slides."""
    from agent.reports import tree_plot
    from agent.reports.plots import png

    tree, problem = found.decision.plan.tree, found.decision.problem
    if tree is None:
        return
    size = (
        f"tree: {len(tree.parent)} nodes, {int(tree.visits[0])} simulations, {int((~tree.feasible).sum())} infeasible"
    )
    assert isinstance(problem, Charted)  # all MuJoCo problems on which a tree can grow are
    try:
        space = problem.space()
    except TelosError:  # ball and free joints: rotations in 3D have no such coordinates
        say(console, f"{size}; not drawn, as the model's positions are more than hinges and slides")
        return
    positions: dict[str, np.ndarray] = {}
    for at, name in enumerate(space.names[: len(space.names) // 2][:PANELS]):  # the second half are velocities
        places = problem.coordinates(tree.nodes)[:, at].numpy()
        period = space.high[at] - space.low[at]
        label = f"{name}, {space.units[at]}" if space.units else name
        positions[label] = tree_plot.unwrapped(tree, places, period) if space.periodic[at] else places
    path = rundir.path / f"explain-{found.episode}-{found.step}-tree.png"
    panels = tree_plot.draw(tree, positions, found.decision.plan.dt)
    drawn = _drawn(path, lambda: png(panels, 9.6, 1.2 + 2.6 * len(positions)), console)
    say(console, f"{size}; picture: {path}" if drawn else size)


def _drawn(path: Path, draw: Callable[[], bytes], console: Console) -> bool:
    """Draw and write a picture; if it cannot be drawn, print why and return False."""
    try:
        data = draw()
    except Exception as error:  # matplotlib's axes fail on numbers near the limits of floats
        say(console, f"no picture: {type(error).__name__}: {error}")
        return False
    write(path, data)
    return True


def say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _spans(indices: Sequence[int]) -> str:
    """Ascending indices in words, such as "0 to 3, 5"; "" if there are none."""
    runs = [[index for _, index in run] for _, run in groupby(enumerate(indices), lambda at: at[1] - at[0])]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _named(decision: Decision, population: Population, last: Tensor | None) -> dict[int, str]:
    """Candidate -> its name: the reference that it is, and whether it was published."""
    named: dict[int, str] = {}
    wanted = dict(decision.problem.proposals)
    if last is not None:  # the previous plan shifted by one step, its last action repeated
        horizon = decision.problem.horizon
        wanted["previous"] = last[(torch.arange(horizon) + 1).clamp(max=len(last) - 1)]
    first = len(wanted)  # the references are the first candidates of the population
    for name, actions in wanted.items():
        for index in _equal(population.actions[:first], actions.clamp(-1, 1)):
            named.setdefault(index, name)
    plan = decision.plan
    for index in _equal(population.actions, plan.actions):
        if float(population.cost[index]) == plan.cost:
            label = plan.statistics.source
            label = named.get(index, label if label == "mean" else "")
            named[index] = f"{label}, published" if label else "published"
            break
    return named


def _equal(candidates: Tensor, actions: Tensor) -> list[int]:
    return torch.nonzero((candidates == actions).all(2).all(1))[:, 0].tolist()


def _shown(found: Explanation) -> list[int]:
    """The best candidates and all named ones, in order of rank."""
    best = found.ranked[:BEST]
    return [index for index in found.ranked if index in best or index in found.named]


def _table(found: Explanation) -> Table:
    rules = found.decision.problem.judge.guardrails
    population = found.population
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rank", "candidate", "iteration", "cost", "violation", "first action"):
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    scaled = found.decision.plan.margin / found.decision.problem.limits.scale
    closest = torch.argsort(scaled, stable=True)[:COLUMNS].tolist()
    for column in closest:
        table.add_column(f"{rules.names[column]}\n{rules.units[column]}", justify="right")
    rank = {index: place for place, index in enumerate(found.ranked, 1)}
    for index in _shown(found):
        action = ", ".join(f"{value:+.3f}" for value in population.actions[index, 0, :3].tolist())
        more = ", …" if population.actions.shape[2] > 3 else ""
        name = found.named.get(index, "")
        table.add_row(
            str(rank[index]),
            name,
            str(int(population.iteration[index])),
            f"{float(population.cost[index]):.6g}",
            "none" if found.violation[index] == 0 else f"{found.violation[index]:.3g}",
            f"{action}{more}",
            *(f"{value:+.4g}" for value in population.margin[index, closest].tolist()),
            style="bold" if "published" in name else None,
        )
    return table


def _why(found: Explanation) -> str:
    """Why the published plan was selected, as text."""
    plan = found.decision.plan
    text = "why: the order is valid, then feasible, then least violation, then cost. "
    place = next((n for n, index in enumerate(found.ranked, 1) if "published" in found.named.get(index, "")), None)
    source = plan.statistics.source
    if not plan.feasible:
        text += "No candidate was feasible; the one with the least scaled violation went out"
    elif source == "mean" and place != 1:
        text += f"The distribution's mean (rank {place}) is feasible and no worse than any proposal, so it is preferred"
    elif source == "descent":
        text += f"The descent from the plan that samples found went out (rank {place})"
    else:
        text += f"The feasible candidate of least cost went out (rank {place})"
    return f"{text}; source: {source}; cost {plan.cost:.6g}."


def picture(found: Explanation) -> bytes:
    """The picture of the decision as PNG: costs of all candidates, imagined margins of those shown and of the plan."""
    from agent.reports import explain_plot

    shown = [index for index in _shown(found) if np.isfinite(found.violation[index])]
    return explain_plot.draw(found, shown)
