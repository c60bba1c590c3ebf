"""The trainer of trainer.ts, by the Python client: the same options in TRAINER, the same lines, the same end."""

import json
import os
import sys
import threading
import time
from typing import Any, Dict

import interlock


def tell(event: str, **more: Any) -> None:
    # The monotonic clock that Node's hrtime reads.
    sys.stdout.write(json.dumps({"event": event, "atMs": time.monotonic_ns() / 1e6, **more}) + "\n")
    sys.stdout.flush()


def on_event(event: Dict[str, Any]) -> None:
    if event["kind"] == "permit":
        tell("permit", seq=event["seq"])
    elif event["kind"] == "checkpoint-delivered":
        tell("checkpoint", file=event["file"])
    elif event["kind"] == "checkpoint-waits":
        tell("checkpoint-waits", code=event["code"])


options = json.loads(os.environ["TRAINER"])
client = interlock.InterlockClient(options["url"], options["token"], options["webhookSecret"], timeout_s=2.0)
register = options.get("register")
if register is not None:
    targets = [{"kind": "webhook", "url": register["haltUrl"]}]
    permit = client.register({"runId": options["runId"], "targets": targets})
    tell("registered", permit=permit is not None)
guard = interlock.PermitGuard.open(
    client,
    options["runId"],
    options["stateDirectory"],
    heartbeat_interval_s=options["heartbeatIntervalMs"] / 1000,
    on_event=on_event,
)
checkpoint = options.get("checkpoint")
period_s = options["checkPeriodMs"] / 1000
steps, last_step_at_ms, paused, waiting_for = 0, 0.0, False, ""
nothing = threading.Event()
while True:
    leave = guard.may_train(1000 + steps)
    if leave.verdict == "go":
        last_step_at_ms = time.monotonic_ns() / 1e6
        steps += 1
        if paused:
            tell("resumed")
        paused = False
        if checkpoint is not None and steps == checkpoint["afterSteps"]:
            for n in range(1, checkpoint.get("count", 1) + 1):
                guard.checkpoint(f"c{n}", 1000 + steps, checkpoint["modelUri"], steps)
            tell("queued", count=checkpoint.get("count", 1))
        guard.report(1000 + steps, steps)
        if steps == 1:
            tell("training")
    elif steps == 0:
        if leave.reason != waiting_for:
            tell("waiting", reason=leave.reason)
        waiting_for = leave.reason
    else:
        if not paused:
            tell("paused", reason=leave.reason)
        paused = True
        if not options["goOn"] or leave.verdict == "stop":
            break
    nothing.wait(period_s)
tell("stopped", lastStepAtMs=last_step_at_ms, steps=steps)
if options["goOn"]:
    guard.end(leave)
# At once: the point of the trial is a process that has ended, not one that says goodbye to a service that is away.
os._exit(0)
