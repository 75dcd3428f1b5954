"""The networks of a JEPA, and their checkpoints: what the conformance suite of all models does not ask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from envs.errors import TelosError
from worldmodels.belief import Belief
from worldmodels.checkpoint import KEY, Checkpoint, Header, tensors_of
from worldmodels.jepa.model import Jepa, JepaEnsemble, Probe
from worldmodels.jepa.networks import Inputs, JepaParams, Networks
from worldmodels.jepa.saved import jepa, model_of, parts_of
from worldmodels.layers import initialise

F, A, H, N = 5, 2, 7, 4


def networks(**params: object) -> Networks:
    made = Networks(Inputs(F, angles=(0,), ignored=(4,)), A, JepaParams(**{"latent": 8, "width": 16, **params}), 2, 3)
    initialise(made, 0)
    return made


def start(seed: int = 0) -> Belief:
    return Belief(None, np.random.default_rng(seed).normal(size=F))


def actions(number: int = N) -> torch.Tensor:
    return torch.rand(number, H, A, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


KINDS = {
    "plain": {},
    "simnorm": {"latent_form": "simnorm"},
    "normalised": {"latent_form": "normalised"},
    "identity": {"encoder": "identity"},
    "frozen": {"encoder": "frozen"},
    "three members": {"members": 3},
    "without norm": {"norm": False},
}
every = pytest.mark.parametrize("kind", KINDS)


def built(kind: str) -> Jepa:
    made = networks(**KINDS[kind])
    probe = Probe(made.size, {"joint_position/a": 1, "site_position/b": 3})
    probe.weight.normal_(generator=torch.Generator().manual_seed(1))
    return jepa(made.requires_grad_(False), 0.02, probe)


@every
def test_gradients_reach_actions(kind: str) -> None:
    model = built(kind)
    given = actions().requires_grad_()
    found = model.differentiate(start(), given)
    for values in (found.states, *found.signals.state.values()):
        mixed = values[:, -1] @ torch.arange(1.0, values.shape[-1] + 1)  # where a form's dimensions sum to a constant
        (slope,) = torch.autograd.grad(mixed.sum(), given, retain_graph=True)
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().sum(1) > 0).all()
    imagined = model.imagine(start(), actions(), states=True)
    torch.testing.assert_close(found.states.detach(), imagined.states)


@every
def test_a_future_continues_from_any_of_its_states(kind: str) -> None:
    model = built(kind)
    whole = model.imagine(start(), actions(), states=True)
    later = model.branch(start(), whole.states[:, 3].double(), actions()[:, 3:])
    torch.testing.assert_close(later.states, whole.states[:, 3:], rtol=1e-5, atol=1e-6)


@every
def test_what_is_saved_is_loaded(kind: str, tmp_path: Path) -> None:
    model = built(kind)
    file = tmp_path / "model.safetensors"
    written = Checkpoint(header(model), tensors_of(parts_of(model.networks, model.probe)[1])).written(file)
    again = model_of(Checkpoint.read(file))
    assert Checkpoint.read(file).sha256 == written.sha256
    assert type(again) is type(model)
    one, other = (m.imagine(start(), actions(), states=True) for m in (model, again))
    assert torch.equal(one.states, other.states)
    assert torch.equal(one.doubt, other.doubt)
    assert all(torch.equal(one.signals.state[name], other.signals.state[name]) for name in one.signals.state)


def header(model: Jepa, **more: object) -> Header:
    about, _ = parts_of(model.networks, model.probe)
    signals = {} if model.probe is None else model.probe.sizes
    said = {"kind": "jepa", "task": "t", "features": F, "action_size": A, "control_period": 0.02}
    return Header.model_validate({**said, "parts": about, "signals": signals, **more})


def test_an_angle_means_the_same_after_a_turn() -> None:
    model = built("plain")
    turned = start().features + np.array([2 * np.pi, 0, 0, 0, 0])
    torch.testing.assert_close(model.root(start()), model.root(Belief(None, turned)), rtol=1e-4, atol=1e-5)


def test_what_is_ignored_changes_nothing() -> None:
    model = built("plain")
    other = start().features + np.array([0, 0, 0, 0, 9.0])
    assert torch.equal(model.root(start()), model.root(Belief(None, other)))


def test_inputs_are_in_units_of_their_spread() -> None:
    inputs = Inputs(3, ignored=(2,))
    inputs.fit(torch.tensor([1.0, 5.0, 0.0]), torch.tensor([2.0, 0.0, 1.0]))
    seen = inputs(torch.tensor([[3.0, 6.0, 9.0]]))
    torch.testing.assert_close(seen, torch.tensor([[1.0, 1.0]]))


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = networks().state_dict()
    torch.manual_seed(2)
    other = networks().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["predictor.0.weight"].std() > 0.1


def test_each_member_is_a_model_of_its_own() -> None:
    ensemble = built("three members")
    assert isinstance(ensemble, JepaEnsemble)
    futures = list(ensemble.futures(start(), actions(), 0, states=True))
    alone = [member.imagine(start(), actions(), states=True) for member in ensemble.members(0)]
    assert len(futures) == len(alone) == 3
    for one, other in zip(futures, alone, strict=True):
        torch.testing.assert_close(one.states, other.states, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(futures[0].states, futures[1].states)
    spread = torch.stack([future.states[:, 1:] for future in futures]).std(0, unbiased=False)
    wanted = spread.square().mean(-1).sqrt()
    torch.testing.assert_close(ensemble.disagreement(futures), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(futures[0].doubt, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ensemble.imagine(start(), actions()).doubt, wanted, rtol=1e-4, atol=1e-5)


def test_a_teacher_follows_slowly() -> None:
    made = networks()
    made.teach()
    before = made.taught(torch.zeros(1, F))
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(made.taught(torch.zeros(1, F)), before)
    made.teach(0.5)
    weights = zip(made.teacher.parameters(), made.encoder.parameters(), strict=True)
    assert all(torch.allclose(new - old, torch.full_like(old, 0.05), atol=1e-6) for old, new in weights)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(TelosError, match=r"shape \(3,\).*\(5,\), as the model was trained on"):
        built("plain").root(Belief(None, np.zeros(3)))


# --- checkpoints that are none ---------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model, path = built("plain"), tmp_path / "model.safetensors"
    Checkpoint(header(model), tensors_of(parts_of(model.networks, model.probe)[1])).written(path)
    return path


def rewritten(file: Path, **more: object) -> None:
    """The file again, with other fields in its header."""
    said = json.loads(Checkpoint.read(file).header.model_dump_json()) | more
    save_file(load_file(file), file, {KEY: json.dumps(said)})


def test_a_file_cut_short_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(TelosError, match="an unreadable file"):
            Checkpoint.read(file)


def test_numbers_that_are_not_finite_are_refused(file: Path) -> None:
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    save_file(tensors, file, {KEY: Checkpoint.read(file).header.model_dump_json()})
    with pytest.raises(TelosError, match="not finite"):
        Checkpoint.read(file)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"version": 99}, "version: given 99"),
        ({"kind": "gpt"}, "kind: given 'gpt'"),
        ({"parts": {}}, "parts"),
        ({"parts": {"jepa": {}, "probe": {}}}, "jepa"),
        ({"strange": 1}, "unreadable"),
        ({"features": "many"}, "unreadable"),
    ],
)
def test_another_header_is_refused(file: Path, more: dict[str, object], said: str) -> None:
    rewritten(file, **more)
    with pytest.raises(TelosError, match=said):
        model_of(Checkpoint.read(file))


def test_weights_of_other_sizes_are_refused(file: Path) -> None:
    parts = Checkpoint.read(file).header.parts
    parts["jepa"]["params"]["latent"] = 16
    rewritten(file, parts=parts)
    with pytest.raises(TelosError, match="size mismatch"):
        model_of(Checkpoint.read(file))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TelosError, match="no such file"):
        Checkpoint.read(tmp_path)
