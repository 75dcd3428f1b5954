"""JEPAs in checkpoints: what is written of one, and how it is rebuilt."""

from __future__ import annotations

from typing import Any

from torch import nn

from envs.errors import TelosError
from envs.validation import validated
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.model import Jepa, JepaEnsemble, Probe
from worldmodels.jepa.networks import Inputs, JepaParams, Networks

PART = "jepa"
MOST = 1_000_000  # of features, actions and steps of a window


def parts_of(networks: Networks, probe: Probe | None) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """How the parts are rebuilt, for a checkpoint's header, and the modules that its tensors come from."""
    inputs = networks.inputs
    about: dict[str, Any] = {
        PART: {
            "params": networks.params.model_dump(),
            "features": inputs.features,
            "angles": list(inputs.angles),
            "ignored": [i for i in range(inputs.features) if i not in (*inputs.numbers, *inputs.angles)],
            "action_size": networks.action_size,
            "moments": networks.moments,
            "every": networks.every,
        }
    }
    modules: dict[str, nn.Module] = {PART: networks}
    if probe is not None:
        about["probe"] = {"sizes": probe.sizes}
        modules["probe"] = probe
    return about, modules


def networks_of(about: dict[str, Any]) -> Networks:
    """Networks of the sizes that a header's part says, with weights of 0. Raises TelosError where it says no such."""
    try:
        features, action_size, moments, every = (int(about[n]) for n in ("features", "action_size", "moments", "every"))
        if not (0 < features <= MOST and 0 < action_size <= MOST and 0 < moments * every <= MOST):
            raise ValueError("sizes")
        if not set(map(int, (*about["angles"], *about["ignored"]))) <= set(range(features)):
            raise ValueError("indices")
        inputs = Inputs(features, tuple(about["angles"]), tuple(about["ignored"]))
        params = validated(JepaParams, about["params"], "checkpoint: jepa.params")
        return Networks(inputs, action_size, params, moments, every)
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise TelosError("checkpoint: jepa", f"{type(error).__name__} {error}", "as `telos train` wrote it") from None


def jepa(networks: Networks, dt: float, probe: Probe | None) -> Jepa:
    """The world model of these networks: an ensemble where they have several predictors."""
    return (Jepa if networks.params.members == 1 else JepaEnsemble)(networks, dt, probe)


def model_of(checkpoint: Checkpoint) -> Jepa:
    """The world model in a checkpoint. Raises TelosError for another kind, or tensors that do not fit."""
    if checkpoint.header.kind != PART:
        raise TelosError("checkpoint: kind", repr(checkpoint.header.kind), [PART])
    if not checkpoint.has(PART):
        raise TelosError("checkpoint: parts", list(checkpoint.header.parts), [PART])
    networks = networks_of(checkpoint.header.parts[PART])
    checkpoint.fill(PART, networks)
    probe = None
    if checkpoint.has("probe"):
        sizes = dict(checkpoint.header.signals)
        probe = Probe(networks.size, sizes)
        checkpoint.fill("probe", probe)
    return jepa(networks.requires_grad_(False), checkpoint.header.control_period, probe)
