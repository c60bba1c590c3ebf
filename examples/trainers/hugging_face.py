#!/usr/bin/env python3
"""Hugging Face Trainer under Interlock. Needs transformers, datasets and torch.

    torchrun --nproc-per-node 8 --max-restarts 0 examples/trainers/hugging_face.py my-run ./state ./out

Two lines are Interlock's: the guard and the callback. `TrainingArguments` must keep checkpoints for as long as
Interlock needs them (`guard.can_delete`), hence no `save_total_limit`.
"""

import sys

from datasets import load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

import interlock

run_id, state, out = sys.argv[1:4]
name = "gpt2"
length = 512

tokenizer = AutoTokenizer.from_pretrained(name)
tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(name)
texts = load_dataset("wikitext", "wikitext-2-raw-v1", split="train").filter(lambda row: row["text"].strip() != "")
tokens = texts.map(
    lambda rows: tokenizer(rows["text"], truncation=True, max_length=length), batched=True, remove_columns=["text"]
)
# Sets torch.distributed up, so that `open_guard` sees all ranks.
arguments = TrainingArguments(output_dir=out, max_steps=10_000, per_device_train_batch_size=8, save_strategy="no")

meter = interlock.ComputeMeter.from_6nd(
    parameters=model.num_parameters(),
    # An upper bound: padding counts as tokens.
    tokens_per_step=arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps * length,
)
guard = interlock.open_guard(interlock.InterlockClient.from_environment(), run_id, state)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=tokens,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    callbacks=[interlock.InterlockCallback.for_hugging_face(guard, compute_at=meter.at_step)],
)
trainer.train()  # saves, ends and exits with 86 on a halt
