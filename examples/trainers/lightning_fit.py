#!/usr/bin/env python3
"""Lightning under Interlock. Needs lightning and torch.

    python3 examples/trainers/lightning_fit.py my-run ./state ./out

The guard is opened at the first step, when Lightning has started its ranks, so that all of them share one decision.
"""

import os
import sys

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import interlock

run_id, state, out = sys.argv[1:4]
BATCH, DEVICES = 64, 1


class Product(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))

    def training_step(self, batch: list, batch_idx: int) -> torch.Tensor:
        inputs, target = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(inputs).squeeze(1), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


model = Product()
meter = interlock.ComputeMeter.from_6nd(
    parameters=sum(parameter.numel() for parameter in model.parameters()), tokens_per_step=BATCH * DEVICES
)
callback = interlock.InterlockCallback.for_lightning(
    lambda: interlock.open_guard(interlock.InterlockClient.from_environment(), run_id, state),
    compute_at=meter.at_step,
    checkpoints=os.path.join(out, run_id),  # what Interlock wants, and the last one on a halt
)
inputs = torch.randn(100_000, 2)
data = DataLoader(TensorDataset(inputs, (inputs[:, 0] * inputs[:, 1] > 0).float()), batch_size=BATCH)
trainer = pl.Trainer(max_epochs=100, devices=DEVICES, default_root_dir=out, callbacks=[callback])
trainer.fit(model, data)  # exits with 86 on a halt
