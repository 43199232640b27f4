"""Training state without the step: parameters, optimizer and random states, as tensors and JSON.

Input: a model and its optimizer. Output: tensors by name and JSON, and functions that restore them. Restoring rejects
anything that does not match exactly: a checkpoint in which the adapter was frozen must not be resumed silently.
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
    """Return the trainable parameters, by name."""
    return {name: parameter.data for name, parameter in trainable(model).items()}


def load_parameters(model: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Load a checkpoint's parameters into the model: exactly the trainable ones.

    Raises:
        TrainingError: a tensor is missing, unknown or has another shape; `where` names the checkpoint.
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
    """Check that the trainable parameters are the same as when a checkpoint was written.

    Raises:
        TrainingError: some tensors were frozen then, or were trained and should not have been.
    """
    expected = set(trainable(model))
    frozen, more = sorted(expected - set(recorded)), sorted(set(recorded) - expected)
    if frozen or more:
        raise TrainingError(
            f"{where}: {len(frozen)} tensors that should train were frozen when it was written and {len(more)} "
            f"that should not train did, such as {(frozen or more)[0]}; training does not go on from it"
        )


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as tensors named `quantity/parameter`; its settings come from the recipe."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{quantity}/{names[id(parameter)]}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for quantity, value in state.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state that `optimizer_tensors` returned.

    Raises:
        TrainingError: the tensors do not match the trainable parameters exactly.
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
    """Return the random states of Python and numpy as JSON, and of torch as tensors."""
    version, numbers, gauss = random.getstate()
    drawn: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the global state is what libraries draw from
    inner = {"key": drawn["state"]["key"].tolist(), "pos": int(drawn["state"]["pos"])}
    state = {"python": [version, list(numbers), gauss], "numpy": {**drawn, "state": inner}}
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{place}": one for place, one in enumerate(torch.cuda.get_rng_state_all())}
    return state, tensors


def load_random_state(state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state that `random_state` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kept = state["numpy"]
    key = np.array(kept["state"]["key"], dtype=np.uint32)
    np.random.set_state({**kept, "state": {"key": key, "pos": kept["state"]["pos"]}})  # noqa: NPY002 - as above
    torch.set_rng_state(tensors["cpu"])
    if torch.cuda.is_available():
        devices = range(sum(name.startswith("cuda.") for name in tensors))
        torch.cuda.set_rng_state_all([tensors[f"cuda.{place}"] for place in devices])
