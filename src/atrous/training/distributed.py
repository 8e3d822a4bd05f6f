"""Several processes that train one model together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 --no-python atrous train DATA --recipe unet -o RUN

Each takes its own piece of every batch; gradients are averaged (ddp), or the model itself is spread (fsdp). The batch
of a step is then `data.batch_size` times the number of processes. Rank 0 alone writes.
"""

import atexit
import gc
import os
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = [
    "World",
    "average_gradients",
    "from_leader",
    "full_state",
    "join",
    "shard",
    "sum_over_processes",
    "summed",
    "wait_for_all",
    "world",
]

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
"""Are never called, and so cannot gather their parameters."""


class World(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    processes: int = 1
    on_this_machine: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0


def world() -> World:
    """What `torchrun` says; one process where it was not used."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return World()
    number = {name: int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return World(int(os.environ.get("RANK", 0)), number["WORLD_SIZE"], number["LOCAL_WORLD_SIZE"])


def join(device: str = "auto") -> World:
    """Meet the other processes of this run, if there are any."""
    here = world()
    if here.processes > 1 and not dist.is_initialized():
        cuda = device != "cpu" and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        dist.init_process_group("nccl" if cuda else "gloo")
        atexit.register(_leave)
    return here


def _leave() -> None:
    """End the threads that talk to the others.

    One that lets go of a tensor while the interpreter ends aborts the process, after all is done. They end with the
    last reference to their group, and models that were spread lie in cycles.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if _together():
        dist.barrier()


def sum_over_processes(values: list[float]) -> list[float]:
    """Sums over all processes."""
    if not _together():
        return values
    total = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.all_reduce(total)
    return total.tolist()


def summed(values: Tensor) -> Tensor:
    """A tensor summed over all processes, where it is; every process must ask."""
    if _together():
        values = values.clone()
        dist.all_reduce(values)
    return values


def from_leader(value: float) -> float:
    """A number as rank 0 has it, in every process."""
    if not _together():
        return value
    said = torch.tensor([value], dtype=torch.float64, device=_device())
    dist.broadcast(said, 0)
    return float(said.item())


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average the gradients of a network that stands outside the engine's care."""
    if _together():
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()


def shard(model: nn.Module, names: list[list[str]], optimizer: Optimizer, mesh: Any) -> None:
    """Spread a model over the processes of a mesh, a piece of every parameter to each (FSDP2).

    The large blocks are gathered one at a time, when they run. The optimizer is handed the pieces in place of the
    parameters it was made with, and its state is cut likewise.

    Args:
        model: to be spread.
        names: of the parameters in each group of the optimizer.
        optimizer: of these parameters, wherever they now are.
        mesh: of the processes.
    """
    from torch.distributed.fsdp import fully_shard

    state = optimizer.state_dict()
    for part in model.children():
        if any(parameter.requires_grad for parameter in part.parameters()) and not isinstance(part, _CONTAINERS):
            fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    pieces = dict(model.named_parameters())
    for group, held in zip(optimizer.param_groups, names, strict=True):
        group["params"] = [pieces[name] for name in held]
    optimizer.state.clear()
    flat = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    cut = {
        index: {key: _cut_like(value, flat[index]) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": cut})


def full_state(values: Any) -> Any:
    """Nested plain values, with every tensor that is in pieces put together on the CPU. All processes must ask."""
    from torch.distributed.tensor import DTensor

    if isinstance(values, DTensor):
        return values.full_tensor().cpu()
    if isinstance(values, dict):
        return {key: full_state(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [full_state(value) for value in values]
    return values


def _cut_like(value: Any, piece: nn.Parameter) -> Any:
    """A whole tensor cut like a parameter that is in pieces."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(piece.data, DTensor) and torch.is_tensor(value) and value.ndim:
        return distribute_tensor(value.to(piece.device), piece.data.device_mesh, piece.data.placements)
    return value


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
