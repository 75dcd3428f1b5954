"""The state of an optimiser as named tensors, from which it continues bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.optim import Optimizer


def tensors_of(optimiser: Optimizer) -> dict[str, Tensor]:
    """ "INDEX/NAME" -> tensor, for the parameters in the optimiser's order; what was never updated has none."""
    found = {}
    for index, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            found[f"{index}/{name}"] = value
    return found


def restore(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Continue from what `tensors_of` gave."""
    parameters = _parameters(optimiser)
    for key, value in tensors.items():
        index, name = key.split("/")
        optimiser.state[parameters[int(index)]][name] = value.clone()


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
