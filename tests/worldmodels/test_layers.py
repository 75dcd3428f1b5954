"""The layers of learned networks: members are independent, and half precision is a matter of the input."""

from __future__ import annotations

import pytest
import torch

from worldmodels.layers import Residual, initialise


def made(members: int = 3, blocks: int = 2) -> Residual:
    net = Residual(members, 5, 4, 16, blocks)
    initialise(net, 0)
    return net


def test_a_member_is_a_network_of_its_own() -> None:
    whole, x = made(), torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    for index in range(3):
        alone = Residual(1, 5, 4, 16, 2)
        alone.load_state_dict({name: value[index : index + 1] for name, value in whole.state_dict().items()})
        torch.testing.assert_close(alone(x[index : index + 1])[0], whole(x)[index])


def test_a_row_does_not_depend_on_the_others() -> None:
    net, x = made(1), torch.randn(1, 9, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(x)[:, :2], net(x[:, :2]))


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_outputs_begin_with_the_spread_of_inputs(blocks: int) -> None:
    net = Residual(1, 64, 64, 256, blocks)
    initialise(net, 0)
    found = net(torch.randn(1, 500, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.7 < found.std().item() < 1.4


def test_half_precision_is_near_and_leaves_the_weights() -> None:
    net, x = made(2), torch.randn(2, 32, 5, generator=torch.Generator().manual_seed(0))
    half = net(x.bfloat16())
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), net(x), atol=0.1, rtol=0.1)
    half.float().sum().backward()
    assert all(p.dtype is torch.float32 and p.grad is not None for p in net.parameters())
