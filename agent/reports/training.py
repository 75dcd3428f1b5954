"""report.html of a training run: what it learned, how far its model can be trusted, and where the time went."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agent.learning.recipe import Recipe
from agent.learning.traindir import TrainDir
from agent.learning.watch import USABLE, signals_of
from agent.memory.episode import Episode
from agent.memory.store import Store
from agent.reports import plots
from envs import registry, yaml_file
from envs.errors import TelosError
from envs.files import contents, write
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.model import Jepa
from worldmodels.jepa.saved import model_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLLED = 100  # control steps of the imagined rollouts that are drawn
MAX_CURVES = 6  # signal components drawn
COLOURS = (plots.BLUE, plots.AMBER, plots.GREEN, plots.RED)


@dataclass(frozen=True)
class Curve:
    """The evaluations of a run, K of them, and the rows beside them."""

    frames: np.ndarray  # (K,)
    minutes: np.ndarray  # (K,), of collecting and updating
    rows: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Sequence[Mapping[str, Any]]]  # on goals, of the rows beside
    returns: Mapping[str, Mapping[str, Any]]  # of the rows beside

    def at(self, ahead: int, what: str) -> np.ndarray:
        """(K,3): mean, low and high of `success` or `stayed` at a distance, in percent."""
        found = [next(score[what] for score in row["scores"] if score["ahead"] == ahead) for row in self.rows]
        return 100 * np.array([[one["mean"], one["low"], one["high"]] for one in found])


def write_report(folder: TrainDir) -> Path:
    """Write report.html from the files of a training run, which need not be finished; return its path.

    Raises:
        TelosError: there is no evaluation yet, or the files do not fit each other.
    """
    path = folder.path / "report.html"
    write(path, render_report(folder).encode(errors="replace"))
    return path


def render_report(folder: TrainDir) -> str:
    """The report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    curve = curve_of(folder)
    if not len(curve.rows):
        raise TelosError(str(folder.path), "no evaluation yet", "a report after the first one (evaluate.every)")
    last, recipe = curve.rows[-1], folder.recipe
    checkpoint = Checkpoint.read(folder.path)
    model = model_of(checkpoint)
    template = Environment(
        loader=PackageLoader("agent.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("training.html.j2")
    video = folder.path / "video" / "goals.mp4"
    return template.render(
        title=recipe.task.removeprefix("dm_control/").removesuffix("-v0"),
        recipe=recipe,
        curve=curve,
        last=last,
        health=last["health"],
        usable=USABLE,
        alarms=sorted({alarm for row in curve.rows for alarm in row["alarms"]}),
        finished=last["frames"] >= recipe.frames,
        sha256=checkpoint.sha256,
        fits=checkpoint.sha256 == last["model_sha256"],
        parameters=trained_numbers(checkpoint),
        store=folder.store,
        pictures={
            "goals": plots.inline(learning(curve)) if last["scores"] else "",
            "returns": plots.inline(earning(curve)) if last["returns"] else "",
            "health": plots.inline(collapse(curve)) if recipe.model.encoder == "learned" else "",
            "horizon": plots.inline(horizon(curve)),
            "rollouts": rollouts(folder, model) if recipe.signals else "",
        },
        video=plots.inline(contents(video), "video/mp4") if video.is_file() else "",
        run=_command(folder),
        manifest=folder.manifest,
        yaml=yaml_file.dump(recipe.model_dump(mode="json")),
    )


def curve_of(folder: TrainDir) -> Curve:
    """The evaluations so far."""
    rows = folder.lines("curve")
    file = folder.path / "floors.json"
    spent = [row["seconds"]["env"] + row["seconds"]["update"] for row in rows]
    floors = json.loads(contents(file)) if file.exists() else {"scores": {}, "returns": {}}
    frames = np.array([row["frames"] for row in rows])
    return Curve(frames, np.array(spent) / 60, rows, floors["scores"], floors["returns"])


def learning(curve: Curve) -> bytes:
    """Success against frames and against minutes, with the rows of the simulator and of random actions."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for cell, x, label in (
            (left, curve.frames, "environment frames"),
            (right, curve.minutes, "minutes of one core"),
        ):
            for colour, score in zip(COLOURS, curve.rows[0]["scores"], strict=False):
                ahead = score["ahead"]
                success = curve.at(ahead, "success")
                cell.fill_between(x, success[:, 1], success[:, 2], color=colour, alpha=0.15, lw=0)
                cell.plot(x, success[:, 0], "o-", color=colour, ms=4, label=f"reached, {ahead} steps ahead")
                cell.plot(x, curve.at(ahead, "stayed")[:, 0], ":", color=colour, label="still there at the end")
            for style, (name, scores) in zip(("--", "-."), curve.scores.items(), strict=False):
                for score in scores:
                    cell.axhline(100 * score["success"]["mean"], ls=style, color=plots.MUTED, lw=1)
                    cell.annotate(
                        name, (1, 100 * score["success"]["mean"]), xycoords=("axes fraction", "data"), fontsize=7,
                        ha="right", va="bottom", color=plots.MUTED,
                    )  # fmt: skip
            cell.set(xlabel=label, ylim=(-3, 107), xlim=(0, None))
        left.set(title="Goals reached, with 95 % intervals", ylabel="% of starts")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)

    return plots.png(draw, 9.6, 3.1)


def earning(curve: Curve) -> bytes:
    """Returns against frames and against minutes, with the row of random actions."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for cell, x, label in (
            (left, curve.frames, "environment frames"),
            (right, curve.minutes, "minutes of one core"),
        ):
            for index, colour in zip(range(len(curve.rows[0]["returns"])), COLOURS, strict=False):
                found = [row["returns"][index] for row in curve.rows]
                for at, one in zip(x, found, strict=True):
                    cell.plot([at] * len(one["each"]), one["each"], ".", color=colour, alpha=0.35, ms=4)
                cell.plot(x, [one["mean"]["mean"] for one in found], "o-", color=colour, ms=4, label=found[0]["by"])
            for name, one in curve.returns.items():
                cell.axhline(one["mean"]["mean"], ls="--", color=plots.MUTED, lw=1, label=name)
            cell.set(xlabel=label, xlim=(0, None))
        left.set(title="Return of each episode, and the mean", ylabel="return", ylim=(min(0, left.get_ylim()[0]), None))
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)

    return plots.png(draw, 9.6, 3.1)


def collapse(curve: Curve) -> bytes:
    """Spread, effective rank, and what a probe reads, against frames."""

    def draw(figure: Figure) -> None:
        probed = curve.rows[0]["health"]["probe_r2"]
        cells = figure.subplots(1, 3 if probed else 2)
        for name, label in (("std_mean", "mean"), ("std_least", "least")):
            _over(cells[0], curve, [row["health"][name] for row in curve.rows], label)
        cells[0].set(title="Latents' standard deviation")
        _over(cells[1], curve, [row["health"]["rank"] for row in curve.rows], "")
        cells[1].set(title="Effective rank")
        for cell in cells[:2]:
            cell.set_ylim(0, 1.15 * cell.get_ylim()[1])
        for name in probed:
            _over(cells[2], curve, [max(row["health"]["probe_r2"][name], -0.1) for row in curve.rows], name)
            cells[2].set(title="R² of a linear probe", ylim=(-0.1, 1.05))
        for cell in cells:
            if cell.get_legend_handles_labels()[1]:
                cell.legend(loc="lower right")

    return plots.png(draw, 9.6, 2.6)


def horizon(curve: Curve) -> bytes:
    """The error of rolled-out latents against the horizon at each evaluation, and that of the copy."""

    def draw(figure: Figure) -> None:
        cell = figure.subplots()
        for index, row in enumerate(curve.rows):
            error = row["health"]["error"]
            share = (index + 1) / len(curve.rows)
            label = f"{row['frames']:,} frames" if index in (0, len(curve.rows) - 1) else None
            cell.plot([*map(int, error)], [*error.values()], color=plots.BLUE, alpha=0.25 + 0.75 * share, label=label)
        copies = curve.rows[-1]["health"]["copy_error"]
        cell.plot([*map(int, copies)], [*copies.values()], "--", color=plots.MUTED, label="copy: nothing changes")
        cell.axhline(USABLE, color=plots.RED, lw=1, label="usable below")
        cell.set(xscale="log", yscale="log", xlabel="control steps", ylabel="error / variance")
        for axis in (cell.xaxis, cell.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
        cell.set_title("Error of rolled-out latents")
        cell.legend(loc="upper left")

    return plots.png(draw, 4.7, 3.1)


def rollouts(folder: TrainDir, model: Jepa) -> str:
    """Signals of a held-out episode: as they were, and as the probe reads them off the imagined rollout.

    A PNG as a data URI; "" where no signal moves.
    """
    recipe, episode = folder.recipe, held_out(folder)[-1]
    steps = min(ROLLED, len(episode))
    physics, requests = _physics(recipe)
    real = signals_of(physics, [_first(episode, steps)], requests)
    seen = torch.from_numpy(np.ascontiguousarray(episode.observations[:1], np.float32))
    actions = torch.from_numpy(np.ascontiguousarray(episode.actions[None, :steps], np.float32))
    with torch.inference_mode():
        first = model.networks.encode(seen)
        path = torch.cat([first[:, None], model.networks.roll(first, actions)[0]], 1)
        assert model.probe is not None
        imagined = {name: values[0].numpy() for name, values in model.probe(path).items()}
    shown = [(name, i) for name, values in real.items() for i in range(values.shape[1])]
    shown = [(name, i) for name, i in shown if float(real[name][:, i].std()) > 1e-9][:MAX_CURVES]
    if not shown:
        return ""
    time = np.arange(steps + 1) * folder.store.about.control_period

    def draw(figure: Figure) -> None:
        rows = -(-len(shown) // 2)
        cells = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
        for cell, (name, i) in zip(cells, shown, strict=False):
            cell.plot(time, real[name][:, i].numpy(), color=plots.INK, label="real")
            cell.plot(time, imagined[name][:, i], "--", color=plots.BLUE, label="imagined from the first observation")
            cell.set_title(name if real[name].shape[1] == 1 else f"{name}[{i}]")
        for cell in cells[len(shown) :]:
            cell.set_visible(False)
        for cell in cells[max(len(shown) - 2, 0) : len(shown)]:
            cell.set_xlabel("s")
        handles, labels = cells[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)

    return plots.inline(plots.png(draw, 9.6, 0.5 + 1.6 * -(-len(shown) // 2)))


def held_out(folder: TrainDir) -> list[Episode]:
    """The episodes that did not train the model."""
    stores = [*(Store.open(Path(path)) for path in folder.recipe.replay), folder.store]
    every = (episode for store in stores for episode in store.episodes())
    return [episode for index, episode in enumerate(every) if folder.recipe.is_held_out(index)]


def trained_numbers(checkpoint: Checkpoint) -> int:
    """Numbers that were trained: no probe, which is fitted, no teacher, and no constants."""
    untrained = ("probe/", "jepa/teacher", "jepa/inputs", "critic/bins")
    return sum(tensor.numel() for name, tensor in checkpoint.tensors.items() if not name.startswith(untrained))


def _command(folder: TrainDir) -> str:
    """A run with the trained model: for reward, or towards where a held-out episode ended."""
    base = f"telos run --model {shlex.quote(str(folder.path))}"
    if folder.recipe.actor_critic is not None:
        return base
    if not folder.recipe.signals:
        return f"{base} --goal 'SIGNAL = TARGET +- WITHIN'"
    physics, requests = _physics(folder.recipe)
    last = held_out(folder)[-1]
    name, values = list(signals_of(physics, [replace(last, states=last.states[-1:])], requests).items())[-1]
    target = ",".join(f"{value:.3g}" for value in values[0].tolist())
    within = max(0.02, round(0.1 * float(values[0].norm()), 2))
    return f"{base} --goal '{name} = {target} +- {within:g}'"


def _physics(recipe: Recipe) -> tuple[BatchPhysics, list[Any]]:
    task = registry.load(recipe.task)
    requests = [request(name) for name in recipe.signals]
    return BatchPhysics(task.spec, requests, task.interface().control_period, threads=1), requests


def _first(episode: Episode, steps: int) -> Episode:
    return replace(episode, states=episode.states[: steps + 1])


def _over(cell: Axes, curve: Curve, values: Sequence[float], label: str) -> None:
    cell.plot(curve.frames, values, "o-", ms=3, label=label)
    cell.set(xlabel="environment frames", xlim=(0, None))
