"""Each loss against a value that is known without it, and the sum of any of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.spatial import distance
from scipy.special import log_softmax
from torch import Tensor

from worldmodels import losses

B, K, D, A, M = 64, 3, 4, 2, 2


def rollout(latents: Tensor | None = None, seed: int = 0) -> losses.Rollout:
    """Random latents and actions, a predictor that is 0.1 off, and heads that answer with 0."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(B, K + 1, D, generator=generator) if latents is None else latents
    return losses.Rollout(
        latents=latents,
        targets=latents,
        predicted=(latents[None, :, 1:] + 0.1).expand(M, -1, -1, -1),
        actions=torch.rand(B, K, A, generator=generator) * 2 - 1,
        inside=torch.ones(B, K),
        weight=torch.ones(M, B, K),
        inverse=lambda before, after: torch.zeros(B, K, A),
        inverse_ends=lambda first, last: torch.zeros(B, K, A),
        decode=lambda latents: latents.sum(-1, keepdim=True),
        inputs=latents.sum(-1, keepdim=True) + 0.5,
        generator=generator,
    )


def test_the_error_of_a_prediction_is_its_square() -> None:
    assert losses.prediction(rollout()).item() == pytest.approx(0.01)


def test_steps_that_do_not_count_do_not_count() -> None:
    one = rollout()
    weight = torch.ones(M, B, K)
    weight[:, : B // 2] = 0
    wrong = one.predicted.clone()
    wrong[:, : B // 2] = torch.inf
    spoilt = replace(one, predicted=torch.nan_to_num(wrong, posinf=1e6), weight=weight)
    assert losses.prediction(spoilt).item() == pytest.approx(0.01, rel=1e-4)


def test_the_cosine_of_equal_directions_is_0() -> None:
    one = rollout()
    scaled = replace(one, predicted=3 * one.latents[None, :, 1:].expand(M, -1, -1, -1))
    assert losses.cosine(scaled).item() == pytest.approx(0, abs=1e-6)
    assert losses.cosine(replace(scaled, predicted=-scaled.predicted)).item() == pytest.approx(2)


@pytest.mark.parametrize(("spread", "wanted"), [(0.0, 1 - 1e-2), (0.5, 0.5), (1.0, 0.0), (3.0, 0.0)])
def test_variance_asks_for_a_spread_of_1(spread: float, wanted: float) -> None:
    column = torch.linspace(-1, 1, B)
    latents = (spread * column / column.std())[:, None, None].expand(B, K + 1, D)
    assert losses.variance(rollout(latents)).item() == pytest.approx(wanted, abs=2e-3)


def test_covariance_is_that_of_numpy() -> None:
    one = rollout()
    found = np.cov(one.latents[:, 0].numpy(), rowvar=False)
    wanted = (found**2).sum() - (np.diag(found) ** 2).sum()
    assert losses.covariance(one).item() == pytest.approx(wanted / D, rel=1e-5)


def test_similarity_is_the_mean_squared_change() -> None:
    steps = torch.arange(K + 1.0)[None, :, None].expand(B, K + 1, D)
    assert losses.similarity(rollout(steps * 0.5)).item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["inverse", "inverse_ends"])
def test_inverse_dynamics_are_the_error_of_actions(name: str) -> None:
    one = rollout()
    assert losses.TABLE[name](one).item() == pytest.approx(one.actions.square().mean().item(), rel=1e-5)


def test_a_window_that_ends_early_teaches_no_endpoints() -> None:
    one = rollout()
    inside = torch.ones(B, K)
    inside[0, -1] = 0
    shorter = replace(one, inside=inside)
    wanted = one.actions[1:].square().mean().item()
    assert losses.inverse_ends(shorter).item() == pytest.approx(wanted, rel=1e-5)


def test_reconstruction_is_the_error_of_inputs() -> None:
    assert losses.reconstruction(rollout()).item() == pytest.approx(0.25)


def test_what_comes_after_an_episode_is_not_reconstructed() -> None:
    one = rollout()
    inside = torch.ones(B, K)
    inside[:, 1:] = 0
    inputs = one.inputs.clone()
    inputs[:, 2:] = 99
    assert losses.reconstruction(replace(one, inside=inside, inputs=inputs)).item() == pytest.approx(0.25)


def test_contrast_is_the_cross_entropy_of_finding_the_target() -> None:
    one = rollout()
    predicted, wanted = one.predicted[0, :, -1].double().numpy(), one.targets[:, -1].double().numpy()
    scores = -distance.cdist(predicted, wanted, "sqeuclidean") / D / 0.1
    assert losses.contrastive(one).item() == pytest.approx(-np.diag(log_softmax(scores, 1)).mean(), rel=1e-4)


def test_sigreg_is_the_epps_pulley_statistic() -> None:
    """In one dimension there is only one direction, so the statistic is a single integral."""
    values = stats.norm.rvs(size=B, random_state=0) * 1.3 + 0.2
    latents = torch.from_numpy(values).float()[:, None, None].expand(B, K + 1, 1)

    def apart(t: float) -> float:
        real, imaginary = np.cos(t * values).mean() - np.exp(-(t**2) / 2), np.sin(t * values).mean()
        return float((real**2 + imaginary**2) * np.exp(-(t**2) / 2))

    wanted = B * integrate.quad(apart, -losses.SPAN, losses.SPAN)[0]
    assert losses.sigreg(rollout(latents)).item() == pytest.approx(wanted, rel=0.02)


def test_sigreg_prefers_gaussians() -> None:
    normal = torch.randn(2000, K + 1, D, generator=torch.Generator().manual_seed(1))
    collapsed, stretched = 0.01 * normal, normal * torch.tensor([3.0, 1.0, 1.0, 0.3])
    found = [losses.sigreg(rollout(one)).item() for one in (normal, stretched, collapsed)]
    assert found[0] < 0.1 * found[1] < 0.1 * found[2]


@pytest.mark.parametrize("name", losses.TABLE)
def test_every_loss_has_gradients(name: str) -> None:
    latents = torch.randn(B, K + 1, D, generator=torch.Generator().manual_seed(2)).requires_grad_()
    one = replace(rollout(0.5 * latents), inverse=lambda b, a: b[..., :A], inverse_ends=lambda f, _: f[:, None, :A] * torch.ones(B, K, A))  # fmt: skip  # noqa: E501
    (slope,) = torch.autograd.grad(losses.TABLE[name](replace(one, inputs=torch.zeros(B, K + 1, 1))), latents)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0 or name == "prediction", "a constant offset has no slope"


def test_the_sum_has_the_weights_of_the_recipe() -> None:
    one = rollout()
    whole, terms = losses.total(one, {"prediction": 2.0, "variance": 3.0, "covariance": 0.0})
    assert set(terms) == {"prediction", "variance"}
    assert whole.item() == pytest.approx(2 * terms["prediction"].item() + 3 * terms["variance"].item())
