"""The state of a training beside its step: parameters, optimizer, random numbers, as tensors and JSON.

In: a model and what trains it. Out: tensors by name and JSON, and the way back, which refuses whatever does not
fit exactly: a checkpoint in which the adapter was frozen must not be taken up in silence.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.errors import TrainingError
from potstill.students.torch.model import trainable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn


def parameters_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """What trains, by name."""
    return {name: parameter.data for name, parameter in trainable(model).items()}


def load_parameters(model: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Put a checkpoint's parameters into the model: all that train, and nothing else.

    Raises:
        TrainingError: a tensor is missing, unknown or of another shape; `where` names the checkpoint.
    """
    wanted = trainable(model)
    if set(tensors) != set(wanted):
        missing = sorted(set(wanted) - set(tensors))
        raise TrainingError(
            f"{where}: {len(missing)} of {len(wanted)} tensors that train are missing"
            + (f", such as {missing[0]}" if missing else "")
            + f"; {len(set(tensors) - set(wanted))} are strangers"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if tensors[name].shape != parameter.shape:
                found, expected = tuple(tensors[name].shape), tuple(parameter.shape)
                raise TrainingError(f"{where}: {name} has shape {found}, expected {expected}")
            parameter.copy_(tensors[name])


def same_trainable(recorded: Sequence[str], model: nn.Module, where: str) -> None:
    """See that what trained when a checkpoint was written is what trains now.

    Raises:
        TrainingError: some tensors were frozen then, or trained and should not have.
    """
    expected = set(trainable(model))
    frozen, more = sorted(expected - set(recorded)), sorted(set(recorded) - expected)
    if frozen or more:
        raise TrainingError(
            f"{where}: {len(frozen)} tensors that should train were frozen when it was written and {len(more)} "
            f"that should not train did, such as {(frozen or more)[0]}; training does not go on from it"
        )


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """The optimizer's state as tensors named `quantity/parameter`; its settings are the recipe's."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{quantity}/{names[id(parameter)]}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for quantity, value in state.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """The way back from `optimizer_tensors`.

    Raises:
        TrainingError: the tensors are not of just what trains.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        quantity, _, name = key.partition("/")
        states.setdefault(name, {})[quantity] = tensor
    if set(states) != set(order):
        raise TrainingError(f"the checkpoint's optimizer knows {len(states)} tensors, {len(order)} train")
    content = optimizer.state_dict()
    content["state"] = {place: states[name] for place, name in enumerate(order)}
    optimizer.load_state_dict(content)


def random_state() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The random states of python and numpy as JSON, and of torch as tensors."""
    version, numbers, gauss = random.getstate()
    drawn: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the global state is what libraries draw from
    inner = {"key": drawn["state"]["key"].tolist(), "pos": int(drawn["state"]["pos"])}
    state = {"python": [version, list(numbers), gauss], "numpy": {**drawn, "state": inner}}
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{place}": one for place, one in enumerate(torch.cuda.get_rng_state_all())}
    return state, tensors


def load_random_state(state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """The way back from `random_state`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kept = state["numpy"]
    key = np.array(kept["state"]["key"], dtype=np.uint32)
    np.random.set_state({**kept, "state": {"key": key, "pos": kept["state"]["pos"]}})  # noqa: NPY002 - as above
    torch.set_rng_state(tensors["cpu"])
    if torch.cuda.is_available():
        devices = range(sum(name.startswith("cuda.") for name in tensors))
        torch.cuda.set_rng_state_all([tensors[f"cuda.{place}"] for place in devices])
