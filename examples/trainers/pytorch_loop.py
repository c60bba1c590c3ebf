#!/usr/bin/env python3
"""A plain PyTorch loop under Interlock, on one process or, by torchrun, on several ranks.

    export INTERLOCK_URL=... INTERLOCK_TOKEN_FILE=... INTERLOCK_WEBHOOK_SECRET_FILE=... PYTHONPATH=clients/python
    python3 examples/trainers/pytorch_loop.py --run my-run --state ./state --models ./models
    torchrun --nproc-per-node 2 --max-restarts 0 examples/trainers/pytorch_loop.py --run my-run ...

The run is registered before, by an operator. What Interlock adds is marked with `# interlock`. Prints one JSON object a
line. Exits with 0 when all steps are done, 86 on a halt.
"""

import argparse
import json
import os
import sys

import torch
import torch.distributed as dist
from torch import nn

import interlock

BATCH, WIDTH = 64, 32


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def batch() -> "tuple[torch.Tensor, torch.Tensor]":
    """The sign of a product of two inputs: not linear, so that there is something to learn."""
    inputs = torch.randn(BATCH, 2)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).float()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--state", required=True, help="a directory that outlives the process, the same at a restart")
    parser.add_argument("--models", required=True, help="where checkpoints go")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--heartbeat", type=float, default=30.0)
    options = parser.parse_args()

    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(1 + rank)
    torch.set_num_threads(1)
    model: nn.Module = nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if ranks > 1:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def save(step: int) -> str:
        path = os.path.join(os.path.abspath(options.models), f"{options.run}-{step}.pt")
        if rank == 0:
            torch.save(model.state_dict(), f"{path}.part")
            os.replace(f"{path}.part", path)
        return f"file://{path}"

    step, saved = 0, []
    meter = interlock.ComputeMeter.from_6nd(parameters=parameters, tokens_per_step=BATCH * ranks)  # interlock

    def on_halt(halted: interlock.Halted) -> None:  # interlock: the last checkpoint, on all ranks
        uri = save(step)
        guard.checkpoint(f"step-{step}", meter.spent, uri, step)
        say(rank=rank, halted=halted.action, step=step)

    def on_event(event: "dict[str, object]") -> None:
        print(json.dumps({**event, "step": step}), file=sys.stderr, flush=True)

    client = interlock.InterlockClient.from_environment()  # interlock
    guard = interlock.open_guard(  # interlock: rank 0 holds the permit, all ranks ask
        client, options.run, options.state, heartbeat_interval_s=options.heartbeat, on_halt=on_halt, on_event=on_event
    )
    with guard:
        while step < options.steps:
            guard.step(meter.after(), step + 1)  # interlock: waits without a permit, raises Halted
            inputs, target = batch()
            loss = nn.functional.binary_cross_entropy_with_logits(model(inputs).squeeze(1), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            meter.add()  # interlock
            if guard.checkpoint_due(meter.spent):  # interlock
                guard.checkpoint(f"step-{step}", meter.spent, save(step), step)
                saved.append(step)
            for old in [each for each in saved[:-1] if guard.can_delete(f"step-{each}")]:  # interlock: the others are needed
                saved.remove(old)
                if rank == 0:
                    os.remove(os.path.join(os.path.abspath(options.models), f"{options.run}-{old}.pt"))
            say(rank=rank, step=step, loss=round(loss.item(), 4))
    say(rank=rank, end="done", step=step)


if __name__ == "__main__":
    main()
