"""A stand-in for lightning.pytorch over the real PyTorch, as far as examples/trainers/lightning_fit.py goes.

What is held to the library's documentation is what callbacks see: names, arguments and order of the hooks of `fit`,
`global_step` counting optimizer steps, `save_checkpoint`, and that whatever is raised goes to `on_exception`, through
`teardown`, and up.
"""

import json
import os
from typing import Any, List, Optional

import torch

HOOKS = (
    "setup teardown on_fit_start on_fit_end on_train_start on_train_end on_train_epoch_start on_train_epoch_end "
    "on_train_batch_start on_train_batch_end on_before_zero_grad on_before_backward on_after_backward "
    "on_before_optimizer_step on_exception on_save_checkpoint"
).split()


class Callback:
    """Every hook is there and does nothing."""


def _nothing(self: Any, trainer: Any, pl_module: Any, *more: Any) -> None:
    return None


for _name in HOOKS:
    setattr(Callback, _name, _nothing)


class LightningModule(torch.nn.Module):
    pass


class Trainer:
    def __init__(
        self,
        *,
        max_epochs: int,
        devices: int,
        default_root_dir: str,
        callbacks: List[Callback],
        accumulate_grad_batches: int = 2,
    ) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError("a callback must be a Callback")
        self.max_epochs, self.callbacks = max_epochs, callbacks
        self.accumulate_grad_batches = accumulate_grad_batches
        self.global_step = 0
        self.should_stop = False
        self.module: Optional[LightningModule] = None

    def fit(self, model: LightningModule, train_dataloaders: Any) -> None:
        self.module = model
        try:
            self._fit(model, train_dataloaders)
        except BaseException as error:
            self._tell("on_exception", error)
            self._tell("teardown", "fit")
            raise
        self._tell("teardown", "fit")

    def _fit(self, model: LightningModule, data: Any) -> None:
        torch.set_num_threads(1)
        self._tell("setup", "fit")
        optimizer = model.configure_optimizers()
        self._tell("on_fit_start")
        self._tell("on_train_start")
        for _ in range(self.max_epochs):
            self._tell("on_train_epoch_start")
            for index, batch in enumerate(data):
                self._tell("on_train_batch_start", batch, index)
                loss = model.training_step(batch, index)
                self._tell("on_before_backward", loss)
                (loss / self.accumulate_grad_batches).backward()
                self._tell("on_after_backward")
                if (index + 1) % self.accumulate_grad_batches == 0:
                    self._tell("on_before_optimizer_step", optimizer)
                    optimizer.step()
                    self._tell("on_before_zero_grad", optimizer)
                    optimizer.zero_grad()
                    self.global_step += 1
                    print(json.dumps({"rank": 0, "step": self.global_step}), flush=True)
                self._tell("on_train_batch_end", {"loss": loss.detach()}, batch, index)
            self._tell("on_train_epoch_end")
        self._tell("on_train_end")
        self._tell("on_fit_end")

    def save_checkpoint(self, filepath: str, weights_only: bool = False, storage_options: Any = None) -> None:
        assert self.module is not None
        os.makedirs(os.path.dirname(filepath), exist_ok=True)
        checkpoint = {"state_dict": self.module.state_dict(), "global_step": self.global_step}
        self._tell("on_save_checkpoint", checkpoint)
        torch.save(checkpoint, filepath)

    def _tell(self, hook: str, *more: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.module, *more)
