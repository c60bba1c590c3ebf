"""A stand-in for transformers, as far as examples/trainers/hugging_face.py goes.

What is held to the library's documentation is what callbacks see: the names and arguments of the events, what
`TrainerState` and `TrainerControl` hold, which flags the Trainer clears and when, and the order of it all, with the
Trainer's own flow before that of added callbacks. The model learns nothing.
"""

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

EVENTS = (
    "on_init_end on_train_begin on_train_end on_epoch_begin on_epoch_end on_step_begin on_substep_end on_step_end "
    "on_evaluate on_predict on_save on_log on_prediction_step"
).split()


@dataclass
class TrainingArguments:
    output_dir: str
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 2
    save_strategy: str = "steps"
    save_steps: int = 500
    world_size: int = 1

    @property
    def train_batch_size(self) -> int:
        return self.per_device_train_batch_size


@dataclass
class TrainerState:
    epoch: Optional[float] = None
    global_step: int = 0
    max_steps: int = 0
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True


@dataclass
class TrainerControl:
    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerCallback:
    """Every event is there and does nothing."""


def _nothing(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
    return None


for _name in EVENTS:
    setattr(TrainerCallback, _name, _nothing)


class DefaultFlowCallback(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if args.save_strategy == "steps" and state.global_step % args.save_steps == 0:
            control.should_save = True
        if state.global_step >= state.max_steps:
            control.should_training_stop = True
        return control


class Trainer:
    def __init__(
        self, *, model: Any, args: TrainingArguments, train_dataset: Any, data_collator: Any, callbacks: List[Any]
    ) -> None:
        for callback in callbacks:
            if not isinstance(callback, TrainerCallback):
                raise TypeError("a callback must be a TrainerCallback")
        self.model, self.args, self.train_dataset = model, args, train_dataset
        self.callbacks = [DefaultFlowCallback(), *callbacks]
        self.state, self.control = TrainerState(), TrainerControl()
        self._tell("on_init_end")

    def train(self) -> None:
        args, state, control = self.args, self.state, self.control
        state.max_steps, state.global_step = args.max_steps, 0
        control.should_training_stop = False
        self._tell("on_train_begin")
        while not control.should_training_stop:
            control.should_epoch_stop = False
            self._tell("on_epoch_begin")
            for batch in range(100):
                first = batch % args.gradient_accumulation_steps == 0
                if first:
                    control.should_log = control.should_evaluate = control.should_save = False
                    self._tell("on_step_begin")
                sum(range(20_000))  # forward and backward
                if (batch + 1) % args.gradient_accumulation_steps != 0:
                    self._tell("on_substep_end")
                else:
                    state.global_step += 1
                    print(json.dumps({"rank": 0, "step": state.global_step}), flush=True)
                    self._tell("on_step_end")
                    self._maybe_save()
                if control.should_epoch_stop or control.should_training_stop:
                    break
            self._tell("on_epoch_end")
            self._maybe_save()
        self._tell("on_train_end")

    def _maybe_save(self) -> None:
        if not self.control.should_save:
            return
        directory = os.path.join(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "trainer_state.json"), "w", encoding="ascii") as file:
            json.dump({"global_step": self.state.global_step}, file)
        self.control.should_save = False
        self._tell("on_save")

    def _tell(self, event: str) -> None:
        more: Dict[str, Any] = dict.fromkeys(
            ("processing_class", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader")
        )
        for callback in self.callbacks:
            answer = getattr(callback, event)(self.args, self.state, self.control, model=self.model, **more)
            if answer is not None:
                self.control = answer


class _Model:
    def num_parameters(self) -> int:
        return 1_000


class AutoModelForCausalLM:
    @staticmethod
    def from_pretrained(name: str) -> _Model:
        return _Model()


class AutoTokenizer:
    eos_token = "<end>"
    pad_token: Optional[str] = None

    @staticmethod
    def from_pretrained(name: str) -> "AutoTokenizer":
        return AutoTokenizer()

    def __call__(self, texts: List[str], *, truncation: bool, max_length: int) -> Dict[str, Any]:
        return {"input_ids": [list(range(min(len(text), max_length))) for text in texts]}


class DataCollatorForLanguageModeling:
    def __init__(self, tokenizer: AutoTokenizer, *, mlm: bool) -> None:
        self.tokenizer = tokenizer
