"""What the vectors cannot say: arithmetic, disk, threads, ranks, frameworks."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

import interlock
from test_support import Service, until

HERE = os.path.dirname(os.path.abspath(__file__))
SECRET = "whsec_" + "BQUF" * 10 + "BQU="


class Directory(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="interlock-python-")
        self.addCleanup(shutil.rmtree, self.directory)


class Ed25519(unittest.TestCase):
    # RFC 8032, section 7.1: secret key left out, for nothing here signs.
    VECTORS = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ]

    def test_accepts_the_vectors_of_rfc_8032(self) -> None:
        for public, message, signature in self.VECTORS:
            key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
            self.assertTrue(interlock.ed25519_verify_pure(key, text, signed))
            self.assertTrue(interlock.ed25519_verify(key, text, signed))

    def test_accepts_the_vector_over_a_digest(self) -> None:
        key = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
        signed = bytes.fromhex(
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        )
        self.assertTrue(interlock.ed25519_verify_pure(key, hashlib.sha512(b"abc").digest(), signed))

    def test_refuses_what_differs_in_one_bit(self) -> None:
        public, message, signature = (bytes.fromhex(part) for part in self.VECTORS[1])
        for at in range(0, 512, 37):
            changed = bytearray(signature)
            changed[at // 8] ^= 1 << at % 8
            self.assertFalse(interlock.ed25519_verify_pure(public, message, bytes(changed)), at)
        self.assertFalse(interlock.ed25519_verify_pure(public, b"s", signature))

    def test_refuses_points_and_lengths_that_are_none(self) -> None:
        public, message, signature = (bytes.fromhex(part) for part in self.VECTORS[0])
        off_curve = (2).to_bytes(32, "little")
        beyond = (interlock._P).to_bytes(32, "little")
        for key in (off_curve, beyond, b"", public[:31], public + b"\0"):
            self.assertFalse(interlock.ed25519_verify_pure(key, message, signature))
        for signed in (b"", signature[:63], signature + b"\0"):
            self.assertFalse(interlock.ed25519_verify_pure(public, message, signed))


class Compute(unittest.TestCase):
    def test_adds_up_what_a_float_would_lose(self) -> None:
        meter = interlock.ComputeMeter.from_6nd(parameters=7_000_000_001, tokens_per_step=4_000_003)
        for _ in range(3):
            meter.add()
        self.assertEqual(meter.spent, str(3 * 6 * 7_000_000_001 * 4_000_003))
        self.assertEqual(meter.after(), meter.at_step(4))

    def test_applies_the_multiplier_exactly_and_rounds_up(self) -> None:
        meter = interlock.ComputeMeter(flop_per_step=3, efficiency_multiplier="1.5")
        self.assertEqual(meter.at_step(1), "5")
        self.assertEqual(meter.at_step(2), "9")

    def test_refuses_what_is_no_figure(self) -> None:
        for bad in (True, -1, float("nan"), float("inf"), "1e", "", "1\n"):
            with self.subTest(repr(bad)), self.assertRaises(ValueError):
                interlock.to_decimal(bad)


class Queue(Directory):
    def test_keeps_order_and_holds_a_report_once(self) -> None:
        queue = interlock.CheckpointQueue(self.directory)
        names = [queue.put(body) for body in (b"one", b"two", b"three", b"one")]
        self.assertEqual(names[3], names[0])
        self.assertEqual([queue.read(name) for name in queue.pending()], [b"one", b"two", b"three"])

    def test_keeps_order_when_the_clock_is_set_back(self) -> None:
        queue = interlock.CheckpointQueue(self.directory)
        later = f"{time.time_ns() + 10**15:020d}"
        queue.put(b"one")
        first = queue.pending()[0]
        os.rename(os.path.join(self.directory, first), os.path.join(self.directory, later + first[20:]))
        queue.put(b"two")
        self.assertEqual([queue.read(name) for name in queue.pending()], [b"one", b"two"])

    def test_sets_a_damaged_report_aside(self) -> None:
        queue = interlock.CheckpointQueue(self.directory)
        name = queue.put(b"whole")
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(b"who")
        self.assertIsNone(queue.read(name))
        self.assertEqual(queue.pending(), [])
        self.assertEqual(os.listdir(os.path.join(self.directory, "rejected")), [f"damaged-{name}"])

    def test_survives_kill_9_at_any_instant(self) -> None:
        """A process writes reports as fast as it can and says which are safe; it is killed in the middle, again and
        again. Whatever it said is there, whole; nothing else is taken for a report."""
        program = (
            "import sys; sys.path.insert(0, sys.argv[1]); import interlock\n"
            "queue = interlock.CheckpointQueue(sys.argv[2])\n"
            "n = 0\n"
            "while True:\n"
            "    n += 1; body = (sys.argv[3] + ' %d ' % n).encode() * 2000\n"
            "    queue.put(body); print(n, flush=True)\n"
        )
        safe: List[bytes] = []
        for life in range(6):
            child = subprocess.Popen(
                [sys.executable, "-c", program, HERE, self.directory, f"life-{life}"], stdout=subprocess.PIPE
            )
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(3 + life)]
            child.kill()
            lines += child.stdout.readlines()
            child.wait()
            child.stdout.close()
            whole = [line for line in lines if line.endswith(b"\n")]
            safe += [f"life-{life} {int(line)} ".encode() * 2000 for line in whole]
        queue = interlock.CheckpointQueue(self.directory)
        found = [queue.read(name) for name in queue.pending()]
        self.assertNotIn(None, found)
        self.assertEqual([body for body in found if body in safe], safe)
        self.assertLessEqual(len(found), len(safe) + 6)

    def test_ranks_that_write_and_send_at_once_lose_nothing(self) -> None:
        sent: List[bytes] = []
        lock = threading.Lock()

        def rank(number: int) -> None:
            queue = interlock.CheckpointQueue(self.directory)
            for n in range(20):
                queue.put(f"{number} {n}".encode())
                for name in queue.pending():
                    body = queue.read(name)
                    if body is not None:
                        with lock:
                            sent.append(body)
                        queue.done(name)

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(sent), {f"{number} {n}".encode() for number in range(3) for n in range(20)})
        self.assertEqual(os.listdir(os.path.join(self.directory, "rejected")), [])


class MemoryFile(Directory):
    def test_reads_what_the_typescript_client_wrote(self) -> None:
        memory = interlock.MemoryFile(self.directory, "run-1")
        self.assertRegex(os.path.basename(memory.path), r"^interlock-run-1-[0-9a-f]{12}\.json$")
        with open(memory.path, "w", encoding="utf-8") as file:
            halt = {"haltId": "halt_a", "action": "halt", "epoch": 2, "via": "webhook", "receivedAt": "x", "order": "y"}
            json.dump({"runId": "run-1", "epoch": 2, "seq": 7, "halts": [halt], "clearedHalts": ["halt_0"]}, file)
        loaded = memory.load()
        self.assertEqual((loaded.epoch, loaded.seq, loaded.cleared_halts), (2, 7, ("halt_0",)))
        memory.save(loaded)
        self.assertEqual(memory.load(), loaded)

    def test_does_not_start_on_a_memory_that_cannot_be_read(self) -> None:
        memory = interlock.MemoryFile(self.directory, "run-1")
        for content in ("", "{", "[]", '{"runId":"run-1"}', '{"runId":"run-2","epoch":0,"seq":0,"halts":[],'):
            with open(memory.path, "w", encoding="utf-8") as file:
                file.write(content)
            with self.subTest(content), self.assertRaisesRegex(interlock.InterlockError, "may hold a halt"):
                memory.load()

    def test_one_process_at_a_time_holds_it(self) -> None:
        memory = interlock.MemoryFile(self.directory, "run-1")
        memory.hold()
        program = (
            "import sys; sys.path.insert(0, sys.argv[1]); import interlock\n"
            "try: interlock.MemoryFile(sys.argv[2], 'run-1').hold()\n"
            "except interlock.InterlockError as error: print(error)\n"
        )
        ask = [sys.executable, "-c", program, HERE, self.directory]
        self.assertIn(b"is in use", subprocess.run(ask, stdout=subprocess.PIPE, check=True).stdout)
        memory.release()
        self.assertEqual(subprocess.run(ask, stdout=subprocess.PIPE, check=True).stdout, b"")


class Http(unittest.TestCase):
    def setUp(self) -> None:
        self.service = Service()
        self.addCleanup(self.service.close)

    def test_gives_up_on_an_answer_that_drips(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        done = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                while not done.wait(0.05):
                    connection.sendall(b" ")
            except OSError:
                pass
            connection.close()

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        client = interlock.InterlockClient(f"http://127.0.0.1:{port}", "token", timeout_s=0.5)
        began = time.monotonic()
        with self.assertRaises(interlock.InterlockError) as raised:
            client.jwks()
        self.assertLess(time.monotonic() - began, 10)
        self.assertTrue(raised.exception.retryable)
        done.set()
        thread.join()
        listener.close()

    def test_no_error_carries_a_secret(self) -> None:
        self.service.handlers["/heartbeat"] = lambda _: (403, '{"code":"tok-secret is bad","detail":"tok-secret"}')
        client = interlock.InterlockClient(self.service.url, "tok-secret", SECRET)
        for work in (
            lambda: client.heartbeat("r", {}),
            lambda: interlock.InterlockClient(self.service.url, "tok-secret\r\nx: y"),
            lambda: interlock.InterlockClient(self.service.url, "t", SECRET + "x"),
            lambda: interlock.InterlockClient("http://user:tok-secret@127.0.0.1", "t"),
        ):
            with self.assertRaises(interlock.InterlockError) as raised:
                work()
            for secret in ("tok-secret", SECRET):
                self.assertNotIn(secret, repr(raised.exception) + str(raised.exception))

    def test_reads_a_secret_file_again_at_each_use(self) -> None:
        directory = tempfile.mkdtemp(prefix="interlock-python-")
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "token")
        self.service.handlers["/finish"] = lambda _: (200, "{}")
        client = interlock.InterlockClient(self.service.url, interlock.secret_file(path))
        for token in ("first", "second"):
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{token}\n")
            client.finish("r")
        shown = [headers["authorization"] for _, headers, _ in self.service.requests]
        self.assertEqual(shown, ["Bearer first", "Bearer second"])

    def test_a_webhook_that_is_retried_keeps_its_id(self) -> None:
        answers = [(503, ""), (429, ""), None, (202, '{"disposition":"evaluate"}')]
        self.service.handlers["/v1/checkpoints"] = lambda _: answers.pop(0)
        client = interlock.InterlockClient(self.service.url, "token", SECRET, wait=lambda _: None)
        self.assertEqual(client.report_checkpoint(interlock.report_body("r", "c", "1e3", "file:///m", 1)), "evaluate")
        ids = {headers["webhook-id"] for _, headers, _ in self.service.requests}
        self.assertEqual((len(ids), len(self.service.requests)), (1, 4))


class Guarded(Directory):
    """A guard whose permits and halts are set by hand: signatures are the vectors' business."""

    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        self.addCleanup(self.service.close)
        with open(os.path.join(HERE, "..", "conformance", "permits.json"), encoding="utf-8") as file:
            self.service.jwks = json.load(file)["jwks"]
        self.service.handlers["/heartbeat"] = lambda _: (
            200,
            '{"directive":{"action":"continue"},"permit":null,"nextCheckpointAt":"500"}',
        )
        self.service.handlers["/v1/checkpoints"] = lambda _: (202, '{"disposition":"recorded"}')
        self.events: List[Dict[str, Any]] = []

    def open(self, **options: Any) -> interlock.PermitGuard:
        client = interlock.InterlockClient(self.service.url, "token", SECRET, timeout_s=5, wait=lambda _: None)
        options = {"heartbeat_interval_s": 0.05, "on_event": self.events.append, **options}
        guard = interlock.PermitGuard.open(client, "run-1", self.directory, **options)
        self.addCleanup(guard._shut)
        return guard

    def permit(self, guard: interlock.PermitGuard, ceiling: str = "1000", seconds: float = 3600) -> None:
        now = time.time()
        permit = interlock.Permit("i", "k", int(now), int(now + seconds), 1, 1, ceiling, None, ())
        with guard._changed:
            guard._held = interlock._Held(permit, interlock._monotonic() + seconds)
            guard._changed.notify_all()

    def halt(self, guard: interlock.PermitGuard, action: str = "halt") -> None:
        halt = {"haltId": "halt_a", "action": action, "epoch": 2, "via": "webhook", "receivedAt": "x", "order": "y"}
        with guard._changed:
            guard._memory = interlock.replace(guard._memory, halts=(halt,))
            guard._file.save(guard._memory)
            guard._changed.notify_all()

    def acks(self) -> List[str]:
        return [body["state"] for body in self.service.bodies("/ack")]


class Steps(Guarded):
    def test_waits_without_a_permit_and_goes_on_by_itself(self) -> None:
        guard = self.open()
        passed = threading.Event()
        thread = threading.Thread(target=lambda: (guard.step("10"), passed.set()), daemon=True)
        thread.start()
        until(lambda: any(event["kind"] == "paused" for event in self.events), "the pause")
        self.assertFalse(passed.is_set())
        # Told once, however often a loop asks.
        self.assertEqual([guard.wait("10", timeout_s=0.01).verdict for _ in range(3)], ["pause"] * 3)
        self.assertEqual(sum(event["kind"] == "paused" for event in self.events), 1)
        self.permit(guard)
        self.assertTrue(passed.wait(20))
        thread.join()

    def test_a_halt_wakes_a_step_that_waits(self) -> None:
        guard = self.open()
        caught: List[interlock.Halted] = []

        def train() -> None:
            try:
                guard.step("10")
            except interlock.Halted as halted:
                caught.append(halted)

        thread = threading.Thread(target=train, daemon=True)
        thread.start()
        until(lambda: guard._waiting > 0, "the wait")
        self.halt(guard, "quarantine")
        thread.join(20)
        self.assertEqual((caught[0].action, caught[0].halt_id, caught[0].code), ("quarantine", "halt_a", 86))

    def test_halted_passes_through_a_loop_that_catches_exceptions(self) -> None:
        guard = self.open()
        self.permit(guard)
        self.halt(guard)
        with self.assertRaises(interlock.Halted):
            try:
                guard.step("10")
            except Exception:  # noqa: BLE001  as careless loops do
                self.fail("a halt was taken for an error")

    def test_tells_what_was_trained_then_stopped(self) -> None:
        saved: List[str] = []

        def save(halted: interlock.Halted) -> None:
            saved.append(halted.action)
            guard.checkpoint("last", "20", "file:///last", 2)

        guard = self.open(on_halt=save, heartbeat_interval_s=60.0)
        self.permit(guard)
        guard.step("10", 1)
        guard.step("20", 2)
        self.halt(guard)
        with self.assertRaises(interlock.Halted):
            guard.step("30", 3)
        self.assertEqual(saved, ["halt"])
        self.assertEqual(self.acks(), ["stopped"])
        self.assertEqual(self.service.bodies("/heartbeat")[-1]["effectiveCompute"], "20")
        paths = [path.rsplit("/", 1)[1] for path, _, _ in self.service.requests]
        self.assertLess(paths.index("checkpoints"), paths.index("ack"))

    def test_saves_nothing_where_nothing_was_trained(self) -> None:
        saved: List[str] = []
        guard = self.open(on_halt=lambda halted: saved.append(halted.action))
        self.halt(guard)
        with self.assertRaises(interlock.Halted):
            guard.step("10")
        self.assertEqual(saved, [], "an untrained model was saved over the last checkpoint")

    def test_a_hook_that_fails_does_not_keep_the_run_alive(self) -> None:
        def fail(_: interlock.Halted) -> None:
            raise RuntimeError("disk full")

        guard = self.open(on_halt=fail)
        self.permit(guard)
        guard.step("10")
        self.halt(guard)
        with self.assertRaises(interlock.Halted):
            guard.step("20")
        self.assertEqual(self.acks(), ["stopped"])

    def test_gives_up_a_pause_that_outlasts_its_limit(self) -> None:
        guard = self.open(max_pause_s=0.1)
        with self.assertRaises(interlock.PauseOutlasted) as raised:
            guard.step("10")
        self.assertEqual(raised.exception.code, 75)
        self.assertTrue(self.service.bodies("/heartbeat")[-1]["leaving"])

    def test_asking_for_the_same_step_twice_spends_it_once(self) -> None:
        guard = self.open(heartbeat_interval_s=60.0)
        self.permit(guard)
        for compute in ("10", "10", "20", "20"):
            guard.step(compute)
        self.assertEqual(guard._progress["effectiveCompute"], "10")

    def test_says_when_a_checkpoint_is_due(self) -> None:
        guard = self.open()
        until(lambda: guard.checkpoint_due("500"), "the first answer")
        self.assertFalse(guard.checkpoint_due("499"))
        guard.checkpoint("c1", "510", "file:///1")
        self.assertFalse(guard.checkpoint_due("520"), "one was made already")

    def test_a_forked_process_may_not_ask(self) -> None:
        guard = self.open()
        guard._pid += 1
        with self.assertRaisesRegex(interlock.InterlockError, "forked"):
            guard.step("1")


class Deliveries(Guarded):
    def test_a_checkpoint_outlives_an_outage_and_goes_before_the_compute_that_needs_it(self) -> None:
        answers: List[Any] = [None, (503, ""), (404, ""), (401, "")]
        self.service.handlers["/v1/checkpoints"] = lambda _: (
            answers.pop(0) if answers else (202, '{"disposition":"evaluate"}')
        )
        guard = self.open()
        guard.checkpoint("c1", "100", "file:///1", 1)
        guard.checkpoint("c2", "200", "file:///2", 2)
        self.assertTrue(guard.flush(20))
        delivered = [event for event in self.events if event["kind"] == "checkpoint-delivered"]
        self.assertEqual(len(delivered), 2)
        bodies = self.service.bodies("/v1/checkpoints")
        self.assertEqual([body["checkpointId"] for body in bodies[-2:]], ["c1", "c2"])

    def test_says_its_training_stage_with_heartbeats_and_checkpoints_from_then_on(self) -> None:
        guard = self.open()
        guard.checkpoint("c1", "100", "file:///1")
        guard.enter_stage("rl", 2 * 10**23)
        guard.checkpoint("c2", "200", "file:///2")
        self.assertTrue(guard.flush(20))
        reports = {body["checkpointId"]: body for body in self.service.bodies("/v1/checkpoints")}
        self.assertNotIn("trainingStage", reports["c1"])
        stated = {"name": "rl", "compute": str(2 * 10**23)}
        self.assertEqual(reports["c2"]["trainingStage"], stated)
        until(
            lambda: any(body.get("trainingStage") == stated for body in self.service.bodies("/heartbeat")),
            "a heartbeat that says it",
        )

    def test_a_checkpoint_may_be_deleted_only_where_an_answer_that_knew_it_does_not_ask_to_keep_it(self) -> None:
        kept = {"retain": ["c0"], "retainUntil": {"c0": "2027-01-31T00:00:00.000Z", "c9": 7}}
        answer = {"directive": {"action": "continue"}, "permit": None, "nextCheckpointAt": "500", **kept}
        self.service.handlers["/heartbeat"] = lambda _: (503, "")
        guard = self.open()
        self.assertFalse(guard.can_delete("c5"))
        self.service.handlers["/heartbeat"] = lambda _: (200, json.dumps(answer))
        until(lambda: guard.can_delete("c5"), "the first answer")
        self.assertFalse(guard.can_delete("c0"))
        self.assertEqual(dict(guard.retain_until), {"c0": "2027-01-31T00:00:00.000Z"})
        self.service.handlers["/v1/checkpoints"] = lambda _: (503, "")
        guard.checkpoint("c1", "100", "file:///1", 1)
        self.assertFalse(guard.can_delete("c1"))
        until(lambda: len(self.service.bodies("/heartbeat")) > 5, "answers that do not know of it")
        self.assertFalse(guard.can_delete("c1"))
        self.service.handlers["/v1/checkpoints"] = lambda _: (202, '{"disposition":"recorded"}')
        until(lambda: guard.can_delete("c1"), "an answer after the delivery")

    def test_a_checkpoint_that_a_process_before_left_on_disk_is_not_deleted_before_it_was_answered_for(self) -> None:
        self.service.handlers["/v1/checkpoints"] = lambda _: (503, "")
        before = self.open()
        before.checkpoint("c1", "100", "file:///1", 1)
        before._shut()
        guard = self.open()
        until(lambda: guard.can_delete("c5"), "the first answer")
        self.assertFalse(guard.can_delete("c1"))
        self.service.handlers["/v1/checkpoints"] = lambda _: (202, '{"disposition":"recorded"}')
        until(lambda: guard.can_delete("c1"), "an answer after the delivery")

    def test_one_that_is_refused_for_good_does_not_hold_up_the_next(self) -> None:
        self.service.handlers["/v1/checkpoints"] = lambda body: (
            (409, '{"code":"checkpoint.differs"}')
            if body["checkpointId"] == "c1"
            else (202, '{"disposition":"evaluate"}')
        )
        guard = self.open()
        guard.checkpoint("c1", "100", "file:///1")
        guard.checkpoint("c2", "200", "file:///2")
        self.assertTrue(guard.flush(20))
        kinds = [event["kind"] for event in self.events if event["kind"].startswith("checkpoint")]
        self.assertEqual(kinds, ["checkpoint-refused", "checkpoint-delivered"])

    def test_what_is_left_is_sent_by_the_next_process(self) -> None:
        self.service.handlers["/v1/checkpoints"] = lambda _: (503, "")
        guard = self.open()
        guard.checkpoint("c1", "100", "file:///1")
        until(lambda: any(event["kind"] == "checkpoint-waits" for event in self.events), "the refusal")
        guard.close()
        self.service.handlers["/v1/checkpoints"] = lambda _: (202, '{"disposition":"evaluate"}')
        self.assertTrue(self.open().flush(20))


class Receiver(Guarded):
    def test_obeys_only_what_is_signed_twice(self) -> None:
        with open(os.path.join(HERE, "..", "conformance", "halts.json"), encoding="utf-8") as file:
            halts = json.load(file)
        orders = {case["name"]: case["token"] for case in halts["cases"]}
        guard = self.open(start=False)
        receiver = interlock.listen_for_halts(guard, [SECRET], port=0)
        self.addCleanup(receiver.close)
        secret = interlock.WebhookSecret(SECRET)

        def post(order: Any, sign: bool = True, body: Optional[bytes] = None) -> int:
            import http.client

            body = body or json.dumps({"type": "halt.ordered", "data": {"order": order}}).encode()
            headers = interlock.sign_webhook(secret, "m1", time.time(), body) if sign else {}
            connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
            connection.request("POST", "/halt", body=body, headers=headers)
            status = connection.getresponse().status
            connection.close()
            return status

        good = orders["one as the service signs it"]
        self.assertEqual(post(good, sign=False), 401)
        self.assertEqual(post(None, body=b"{}"), 400)
        self.assertEqual(post(None, body=b"x" * 70_000), 413)
        self.assertEqual(post(orders["for another run"]), 422)
        self.assertEqual(guard.halts, ())
        self.assertEqual(post(good), 200)
        self.assertEqual(guard.halts[0]["haltId"], "halt_a")
        guard._join_acknowledgements()
        self.assertEqual(self.acks(), ["received"])


class Together:
    """All-reduce between threads, as torch.distributed does between processes."""

    def __init__(self, ranks: int) -> None:
        self.barrier = threading.Barrier(ranks)
        self.values: Dict[int, int] = {}
        self.ranks = ranks

    def reduce_max_of(self, rank: int) -> Callable[[int], int]:
        def reduce_max(value: int) -> int:
            self.values[rank] = value
            self.barrier.wait(30)
            highest = max(self.values.values())
            self.barrier.wait(30)
            return highest

        return reduce_max


class Ranks(Guarded):
    def run_ranks(self, ranks: int, body: Callable[[int, Callable[[int], int]], None]) -> List[Any]:
        together = Together(ranks)
        ends: List[Any] = [None] * ranks

        def rank(number: int) -> None:
            try:
                body(number, together.reduce_max_of(number))
            except BaseException as error:  # noqa: BLE001  SystemExit is what is looked for
                ends[number] = error

        threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in range(ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertFalse(any(thread.is_alive() for thread in threads), "a rank hangs")
        return ends

    def test_all_ranks_stop_at_the_same_step(self) -> None:
        taken: Dict[int, int] = {0: 0, 1: 0, 2: 0}
        saved: List[int] = []

        def train(rank: int, reduce_max: Callable[[int], int]) -> None:
            inner = self.open() if rank == 0 else None
            if inner is not None:
                self.permit(inner)
            guard = interlock.DistributedGuard(inner, reduce_max, on_halt=lambda _: saved.append(rank))
            if inner is not None:
                inner._on_halt = lambda _: saved.append(rank)
            for step in range(1, 1000):
                guard.step(str(step))
                taken[rank] = step
                if inner is not None and step == 7:
                    self.halt(inner, "quarantine")

        ends = self.run_ranks(3, train)
        self.assertEqual({type(end) for end in ends}, {interlock.Halted})
        self.assertEqual({end.action for end in ends}, {"quarantine"})
        self.assertEqual(taken, {0: 7, 1: 7, 2: 7})
        self.assertEqual(sorted(saved), [0, 1, 2])
        self.assertEqual(self.acks(), ["stopped"])

    def test_all_ranks_wait_together_and_go_on_together(self) -> None:
        guards: List[interlock.PermitGuard] = []

        def train(rank: int, reduce_max: Callable[[int], int]) -> None:
            inner = self.open() if rank == 0 else None
            if inner is not None:
                guards.append(inner)
            guard = interlock.DistributedGuard(inner, reduce_max, pause_round_s=0.05)
            guard.step("10")

        helper = threading.Thread(
            target=lambda: (
                until(lambda: any(event["kind"] == "paused" for event in self.events), "the pause"),
                self.permit(guards[0]),
            ),
            daemon=True,
        )
        helper.start()
        self.assertEqual(self.run_ranks(2, train), [None, None])
        helper.join()

    def test_a_pause_that_outlasts_its_limit_ends_all_ranks(self) -> None:
        def train(rank: int, reduce_max: Callable[[int], int]) -> None:
            inner = self.open() if rank == 0 else None
            interlock.DistributedGuard(inner, reduce_max, pause_round_s=0.05, max_pause_s=0.2).step("10")

        self.assertEqual([end.code for end in self.run_ranks(2, train)], [75, 75])

    def test_a_guard_that_cannot_open_ends_all_ranks(self) -> None:
        self.service.jwks = {"keys": []}

        def train(rank: int, reduce_max: Callable[[int], int]) -> None:
            client = interlock.InterlockClient(self.service.url, "token", SECRET)
            interlock.DistributedGuard.open(client, "r", self.directory, rank=rank, reduce_max=reduce_max)

        self.assertEqual({type(end) for end in self.run_ranks(2, train)}, {interlock.InterlockError})


class Frameworks(Guarded):
    """Against small stand-ins of the documented interfaces, not the frameworks: neither is installed here. The order
    of the calls is what transformers' Trainer and Lightning's fit loop document."""

    def hugging_face(self, guard: Any, steps: int, each: Callable[[int], None]) -> SimpleNamespace:
        class TrainerCallback:
            pass

        callback = interlock.InterlockCallback.for_hugging_face(
            guard, compute_at=lambda step: str(step * 10), base=TrainerCallback
        )
        self.assertIsInstance(callback, TrainerCallback)
        args = SimpleNamespace(output_dir=self.directory)
        state = SimpleNamespace(global_step=0, max_steps=steps)
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        state.saved = []
        try:
            while state.global_step < steps and not control.should_training_stop:
                callback.on_step_begin(args, state, control, model=None)
                state.global_step += 1
                each(state.global_step)
                callback.on_step_end(args, state, control, model=None)
                if control.should_save:
                    control.should_save = False
                    state.saved.append(state.global_step)
                    callback.on_save(args, state, control, model=None)
            callback.on_train_end(args, state, control, model=None)
        except SystemExit as ending:
            state.ending = ending
        return state

    def test_hugging_face_trains_to_its_end_and_saves_what_is_due(self) -> None:
        guard = self.open()
        self.permit(guard)
        until(lambda: guard.checkpoint_due("500"), "the first answer")
        state = self.hugging_face(guard, 51, lambda _: None)
        self.assertEqual(state.saved, [50])
        self.assertFalse(hasattr(state, "ending"))
        sent = self.service.bodies("/v1/checkpoints")[0]
        self.assertEqual((sent["checkpointId"], sent["effectiveCompute"]), ("step-50", "500"))
        self.assertTrue(sent["modelUri"].startswith("file:///"))

    def test_hugging_face_saves_and_ends_on_a_halt(self) -> None:
        guard = self.open()
        self.permit(guard)
        state = self.hugging_face(guard, 50, lambda step: self.halt(guard) if step == 3 else None)
        self.assertEqual((state.global_step, state.saved), (3, [3]))
        self.assertEqual(state.ending.code, interlock.EXIT_HALTED)
        self.assertEqual(self.acks(), ["stopped"])
        # The last checkpoint is with Interlock before it hears of the stop.
        paths = [path.rsplit("/", 1)[1] for path, _, _ in self.service.requests]
        self.assertLess(paths.index("checkpoints"), paths.index("ack"))

    def test_lightning_saves_and_ends_on_a_halt(self) -> None:
        guard = self.open()
        self.permit(guard)

        class Callback:
            pass

        callback = interlock.InterlockCallback.for_lightning(
            guard, compute_at=lambda step: str(step * 10), last_checkpoint="last.ckpt", base=Callback
        )
        saved: List[str] = []
        trainer = SimpleNamespace(global_step=0, save_checkpoint=saved.append)
        with self.assertRaises(interlock.Halted):
            for batch in range(10):
                callback.on_train_batch_start(trainer, None, None, batch)
                trainer.global_step += 1
                if trainer.global_step == 4:
                    self.halt(guard)
        self.assertEqual((trainer.global_step, saved), (4, ["last.ckpt"]))

    def test_lightning_saves_and_reports_what_is_due_and_the_last(self) -> None:
        guard = self.open()
        self.permit(guard)
        until(lambda: guard.checkpoint_due("500"), "the first answer")
        callback = interlock.InterlockCallback.for_lightning(
            guard, compute_at=lambda step: str(step * 10), checkpoints=self.directory, base=object
        )
        saved: List[str] = []
        trainer = SimpleNamespace(global_step=0, save_checkpoint=saved.append)
        with self.assertRaises(interlock.Halted):
            for batch in range(120):
                callback.on_train_batch_start(trainer, None, None, batch)
                trainer.global_step += batch % 2  # two batches are accumulated into one step
                callback.on_train_batch_end(trainer, None, None, None, batch)
                if trainer.global_step == 53:
                    self.halt(guard)
        self.assertEqual([os.path.basename(path) for path in saved], ["step-50.ckpt", "step-53.ckpt"])
        sent = [(each["checkpointId"], each["effectiveCompute"]) for each in self.service.bodies("/v1/checkpoints")]
        self.assertEqual(sent, [("step-50", "500"), ("step-53", "530")])
        self.assertEqual(self.acks(), ["stopped"])

    def test_says_what_is_missing_where_a_framework_is_not_installed(self) -> None:
        with self.assertRaisesRegex(interlock.InterlockError, "none of no_such_framework is installed"):
            interlock._framework_base(("no_such_framework", "Callback"))


class CommandLine(Directory):
    def run_program(self, *arguments: str, **more: Any) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, os.path.join(HERE, "interlock.py"), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **more)

    def test_tells_launchers_whether_a_halt_is_in_force(self) -> None:
        ask = ("halted", "--run", "r", "--state", self.directory)
        self.assertEqual(self.run_program(*ask).returncode, 0)
        file = interlock.MemoryFile(self.directory, "r")
        halt = {"haltId": "halt_a", "action": "halt", "epoch": 2, "via": "webhook", "receivedAt": "x", "order": "y"}
        file.save(interlock.Memory("r", halts=(halt,)))
        answered = self.run_program(*ask)
        self.assertEqual((answered.returncode, answered.stdout), (86, b"halt halt_a received x by webhook\n"))
        with open(file.path, "w", encoding="ascii") as damaged:
            damaged.write("{")
        self.assertEqual(self.run_program(*ask).returncode, 2)

    def test_launches_nothing_while_a_halt_is_in_force(self) -> None:
        options = ("launch", "--run", "r", "--state", self.directory, "--grace", "0.3", "--")
        self.assertEqual(self.run_program(*options, sys.executable, "-c", "raise SystemExit(3)").returncode, 3)
        # The launcher hears of the halt while it runs, as its ranks do, and goes on all the same.
        halt = "{'haltId': 'h', 'action': 'halt', 'epoch': 2, 'via': 'webhook', 'receivedAt': 'x', 'order': 'y'}"
        stubborn = (
            "import signal, sys, time; sys.path.insert(0, sys.argv[1]); import interlock\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"interlock.MemoryFile(sys.argv[2], 'r').save(interlock.Memory('r', halts=({halt},)))\n"
            "time.sleep(float(sys.argv[3]))\n"
            "raise SystemExit(1)\n"
        )
        self.assertEqual(
            self.run_program(*options, sys.executable, "-c", stubborn, HERE, self.directory, "0").returncode, 86
        )
        began = os.path.join(self.directory, "began")
        again = self.run_program(*options, sys.executable, "-c", f"open({began!r}, 'w')")
        self.assertEqual((again.returncode, os.path.exists(began)), (86, False))
        os.unlink(interlock.MemoryFile(self.directory, "r").path)
        endless = self.run_program(*options, sys.executable, "-c", stubborn, HERE, self.directory, "600", timeout=60)
        self.assertEqual(endless.returncode, 86)

    def test_says_what_is_missing(self) -> None:
        answered = self.run_program(
            "sidecar", "--run", "r", "--state", self.directory, "--flop-per-second", "1", "--", "true", env={}
        )
        self.assertEqual(answered.returncode, 2)
        self.assertIn(b"set INTERLOCK_URL, and INTERLOCK_TOKEN", answered.stderr)


class Sidecars(Guarded):
    """The sidecar's own part, around real processes; with a real Interlock: test/e2e/clients.test.ts."""

    def around(self, script: str, guard: interlock.PermitGuard, **options: Any) -> "tuple[int, float]":
        """In a process of its own, for it takes over signals; the guard is this test's, so it runs here instead."""
        options = {"compute": lambda _: "10", "check_period_s": 0.05, **options}
        sidecar = interlock.Sidecar(guard, **options)
        before = {name: signal.getsignal(getattr(signal, name)) for name in interlock._FORWARDED}
        began = time.monotonic()
        try:
            code = sidecar.run([sys.executable, "-c", script])
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)
        return code, time.monotonic() - began

    def test_passes_the_exit_code_through(self) -> None:
        for script, code in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)):
            guard = self.open()
            self.permit(guard)
            self.assertEqual(self.around(script, guard)[0], code)

    def test_suspends_before_the_ceiling_not_behind_it(self) -> None:
        guard = self.open()
        self.permit(guard, ceiling="1000")
        rate = interlock._compute_rate("1000", "0")
        options = {"compute": rate, "check_period_s": 0.25, "max_pause_s": 0.1}
        code, _ = self.around("import time; time.sleep(600)", guard, grace_s=5, **options)
        self.assertEqual(code, interlock.EXIT_PAUSED)
        stated = [int(beat["effectiveCompute"]) for beat in self.service.bodies("/heartbeat")]
        self.assertLessEqual(max(stated), 1000)
        self.assertGreaterEqual(max(stated), 100)

    def test_keeps_its_secrets_to_itself(self) -> None:
        guard = self.open()
        self.permit(guard)
        os.environ["INTERLOCK_TOKEN"] = "token"
        self.addCleanup(os.environ.pop, "INTERLOCK_TOKEN")
        self.assertEqual(self.around("import os; raise SystemExit('INTERLOCK_TOKEN' in os.environ)", guard)[0], 0)

    def when(self, path: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=lambda: (until(lambda: os.path.exists(path), path), work()), daemon=True)
        thread.start()
        self.addCleanup(thread.join)

    def test_a_halt_ends_the_whole_group_even_one_that_ignores_sigterm(self) -> None:
        guard = self.open()
        self.permit(guard)
        ready = os.path.join(self.directory, "ready")
        script = (
            "import os, signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            f"open({ready + '.part'!r}, 'w').write(str(child.pid)); os.rename({ready + '.part'!r}, {ready!r})\n"
            "time.sleep(600)\n"
        )
        self.when(ready, lambda: self.halt(guard))
        code, _ = self.around(script, guard, grace_s=0.3)
        self.assertEqual(code, interlock.EXIT_HALTED)
        with open(ready, encoding="ascii") as file:
            grandchild = int(file.read())
        self.assertIn(interlock._start_of(grandchild), (None, "ended"))
        self.assertEqual(self.acks(), ["stopped"])

    def test_suspends_the_group_without_a_permit_and_lets_it_go_on_with_one(self) -> None:
        guard = self.open()
        self.permit(guard)
        ready, ticks = os.path.join(self.directory, "ready"), os.path.join(self.directory, "ticks")
        script = (
            "import os, time\n"
            f"open({ready!r}, 'w').close()\n"
            f"while not os.path.exists({ready!r} + '2'):\n"
            f"    open({ticks!r}, 'a').write('.'); time.sleep(0.01)\n"
        )

        def pause() -> None:
            with guard._changed:
                guard._held = None
                guard._changed.notify_all()
            size = -1
            # Suspended: twice the same size, with a wait in between that would have seen many ticks.
            until(lambda: any(event["kind"] == "paused" for event in self.events), "the pause")
            while size != os.path.getsize(ticks):
                size = os.path.getsize(ticks)
                threading.Event().wait(0.3)
            open(ready + "2", "w").close()
            self.permit(guard)

        self.when(ready, pause)
        self.assertEqual(self.around(script, guard)[0], 0)

    def test_a_sidecar_that_is_killed_takes_its_command_with_it(self) -> None:
        ready = os.path.join(self.directory, "ready")
        program = (
            "import sys, time; sys.path.insert(0, sys.argv[1]); import interlock\n"
            "group = interlock._Group([sys.executable, '-c', 'import os, sys, time; '\n"
            "  'f = open(sys.argv[1] + \".part\", \"w\"); f.write(str(os.getpid())); f.close(); '\n"
            "  'os.rename(f.name, sys.argv[1]); time.sleep(600)', sys.argv[2]])\n"
            "time.sleep(600)\n"
        )
        sidecar = subprocess.Popen([sys.executable, "-c", program, HERE, ready])
        until(lambda: os.path.exists(ready), "the command")
        with open(ready, encoding="ascii") as file:
            command = int(file.read())
        sidecar.kill()
        sidecar.wait()
        until(lambda: interlock._start_of(command) in (None, "ended"), "the command's end")


if __name__ == "__main__":
    unittest.main()
