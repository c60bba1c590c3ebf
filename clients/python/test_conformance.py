"""The Python client against clients/conformance, the files that the TypeScript client is held to as well."""

import base64
import http.client
import json
import os
import re
import shutil
import tempfile
import time
import unittest
from typing import Any, Callable, Dict, List, Optional

import interlock
from test_support import Answer, Service

DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance")


def vectors(name: str) -> Any:
    with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
        return json.load(file)


class Tokens(unittest.TestCase):
    def verifier(self, document: Any) -> interlock.TokenVerifier:
        keys = interlock.TrustedKeys.pin(document["jwks"])
        return interlock.TokenVerifier(document["runId"], keys, document["issuer"])

    def check_all(self) -> None:
        permits = vectors("permits.json")
        for case in permits["cases"]:
            with self.subTest(permit=case["name"]):
                verified = self.verifier(permits).permit(case["token"], permits["nowS"])
                self.assertEqual(verified if isinstance(verified, str) else None, case["refused"])
        halts = vectors("halts.json")
        for case in halts["cases"]:
            with self.subTest(halt=case["name"]):
                verified = self.verifier(halts).halt_order(case["token"])
                self.assertEqual(verified if isinstance(verified, str) else None, case["refused"])
                if isinstance(verified, interlock.HaltOrder):
                    self.assertEqual(verified.suspect, case.get("suspect", False))

    def test_believes_what_the_vectors_believe(self) -> None:
        self.check_all()

    def test_believes_the_same_without_any_library(self) -> None:
        found, sought = interlock._library, interlock._library_sought
        interlock._library, interlock._library_sought = None, True
        try:
            self.check_all()
        finally:
            interlock._library, interlock._library_sought = found, sought

    def test_believes_keys_by_what_believed_ones_have_signed(self) -> None:
        for case in vectors("keys.json")["cases"]:
            with self.subTest(case["name"]):
                keys = interlock.TrustedKeys.pin(case["pinned"])
                for document in case["documents"]:
                    keys.learn(document)
                known = keys.remembered()
                self.assertEqual(sorted(key["kid"] for key in known), sorted(case["believed"]))
                revoked = [key["kid"] for key in known if key["revokedAtS"] is not None]
                self.assertEqual(revoked, case["revoked"])


class Messages(unittest.TestCase):
    def test_signs_webhooks_as_the_service_does(self) -> None:
        for case in vectors("webhooks.json")["signatures"]:
            with self.subTest(case["id"]):
                secret = interlock.WebhookSecret(case["secret"])
                content = case["body"].encode("utf-8")
                if case["headers"] is None:
                    with self.assertRaises(ValueError):
                        interlock.sign_webhook(secret, case["id"], case["atS"], content)
                else:
                    headers = interlock.sign_webhook(secret, case["id"], case["atS"], content)
                    self.assertEqual(headers, case["headers"])

    def test_verifies_webhooks_strictly(self) -> None:
        document = vectors("webhooks.json")
        secrets = [interlock.WebhookSecret(text) for text in document["secrets"]]
        for case in document["cases"]:
            with self.subTest(case["name"]):
                headers = [(name, value) for name, value in case["headers"]]
                good = interlock.verify_webhook(secrets, headers, case["body"].encode("utf-8"), document["nowS"])
                self.assertEqual(good, case["valid"])

    def test_refuses_a_secret_that_is_none_without_quoting_it(self) -> None:
        for text in vectors("webhooks.json")["badSecrets"]:
            with self.subTest(repr(text)), self.assertRaises(interlock.InterlockError) as raised:
                interlock.WebhookSecret(text)
            if len(text) > len("whsec_"):
                self.assertNotIn(text, str(raised.exception))

    def test_writes_the_same_bytes_for_the_same_report(self) -> None:
        for case in vectors("reports.json")["reports"]:
            report = case["report"]
            body = interlock.report_body(
                report["runId"],
                report["checkpointId"],
                report["effectiveCompute"],
                report["modelUri"],
                report.get("step"),
                weights_digest=report.get("weightsDigest"),
                parents=report.get("parents"),
                training_stage=report.get("trainingStage"),
            )
            self.assertEqual(base64.b64encode(body).decode("ascii"), case["bodyBase64"])
            self.assertEqual(interlock.report_id(body), case["id"])

    def test_tries_again_what_may_succeed(self) -> None:
        document = vectors("reports.json")
        for status in document["retryable"]:
            self.assertTrue(interlock.is_retryable(status), status)
        for status in document["final"]:
            self.assertFalse(interlock.is_retryable(status), status)

    def test_compares_compute_exactly(self) -> None:
        document = vectors("compute.json")
        for case in document["compared"]:
            with self.subTest(case):
                self.assertEqual(interlock.at_most(case["a"], case["b"]), case["atMost"])
        for case in document["written"]:
            with self.subTest(case):
                if case["text"] is None:
                    with self.assertRaises(ValueError):
                        interlock.to_decimal(case["number"])
                else:
                    text = interlock.to_decimal(case["number"])
                    # 1e-7 and 1e-07 are the same figure.
                    self.assertEqual(float(text), float(case["text"]))
                    self.assertTrue(interlock.is_decimal(text))


class Scenarios(unittest.TestCase):
    """Each scenario through the real client, over HTTP on loopback."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="interlock-python-")
        self.service = Service()

    def tearDown(self) -> None:
        self.service.close()
        shutil.rmtree(self.directory)

    def test_says_what_the_scenarios_say(self) -> None:
        document = vectors("guard.json")
        for number, scenario in enumerate(document["scenarios"]):
            with self.subTest(scenario["name"]):
                self.play(document, scenario["steps"], os.path.join(self.directory, str(number)))

    def play(self, document: Any, steps: Any, directory: str) -> None:
        clocks = {"monotonic": 1.0, "wall": float(document["nowS"]), "nonces": 0, "lives": 0}
        self.service.jwks = document["jwks"]
        self.service.handlers["/heartbeat"] = lambda _: self.answer
        self.answer: Optional[Any] = None

        def nonce() -> str:
            clocks["nonces"] += 1
            return f"nonce-{clocks['nonces']}"

        def begin() -> interlock.PermitGuard:
            clocks["lives"] += 1
            client = interlock.InterlockClient(self.service.url, "trainer-token", wait=lambda _: None)
            return interlock.PermitGuard.open(
                client,
                document["runId"],
                directory,
                issuer=document["issuer"],
                instance=f"instance-{clocks['lives']}",
                start=False,
                monotonic=lambda: clocks["monotonic"],
                wall_clock=lambda: clocks["wall"],
                nonce=nonce,
            )

        guard = begin()
        for index, step in enumerate(steps):
            at = f"step {index}: {json.dumps(step)[:120]}"
            clocks["monotonic"] += step.get("advanceS", 0)
            clocks["wall"] += step.get("advanceS", 0) + step.get("wallS", 0)
            if "keys" in step:
                self.service.jwks = step["keys"]
            if "beat" in step:
                said = step["beat"]
                self.answer = (
                    None if said == "unreachable" else (said["status"], said["text"] * said.get("repeat", 1))
                )
                guard.beat()
            if "order" in step:
                self.assertEqual(guard.receive_order(step["order"], "webhook"), step["outcome"], at)
            if "ask" in step:
                verdict = guard.may_train(step["ask"])
                self.assertEqual(verdict.verdict, step["verdict"], at)
                if "reason" in step:
                    self.assertEqual(verdict.reason, step["reason"], at)
            if "sent" in step:
                sent = self.service.bodies("/heartbeat")[-1]
                for name, value in step["sent"].items():
                    self.assertEqual(sent.get(name), value, at)
            if "restart" in step:
                guard._shut()
                guard = begin()
        guard._shut()


def answer_of(said: Any) -> Answer:
    if said == "unreachable":
        return None
    headers = {"retry-after": said["retryAfter"]} if "retryAfter" in said else {}
    return said["status"], said.get("text", ""), headers


class Retries(unittest.TestCase):
    """What is waited for between two attempts, by clocks that stand still."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="interlock-python-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.service = Service()
        self.addCleanup(self.service.close)
        self.document = vectors("retries.json")
        self.service.jwks = self.document["jwks"]
        self.secret = vectors("webhooks.json")["secrets"][0]

    def persisted(self, cases: Any, ending: str, call: Callable[[interlock.InterlockClient], str]) -> None:
        for case in cases:
            with self.subTest(case["name"]):
                waits: List[float] = []
                client = interlock.InterlockClient(self.service.url, "token", self.secret, wait=waits.append)
                answers = list(case["answers"])
                self.service.handlers[ending] = lambda _, left=answers: answer_of(left.pop(0))
                try:
                    ended = call(client)
                except interlock.InterlockError as error:
                    ended = str(error)
                self.assertEqual((waits, ended, answers), (case["waitsS"], case["ends"], []))

    def test_repeats_a_report_as_the_vectors_say(self) -> None:
        body = interlock.report_body("r", "c", "1", "file:///m", 1)
        self.persisted(self.document["reports"], "/checkpoints", lambda client: client.report_checkpoint(body))

    def test_repeats_an_acknowledgement_as_the_vectors_say(self) -> None:
        def acknowledge(client: interlock.InterlockClient) -> str:
            client.acknowledge_halt("halt_a", "stopped")
            return "told"

        self.persisted(self.document["acknowledgements"], "/ack", acknowledge)

    def open(self, directory: str, clock: Dict[str, float]) -> interlock.PermitGuard:
        return interlock.PermitGuard.open(
            interlock.InterlockClient(self.service.url, "token", self.secret, wait=lambda _: None),
            self.document["runId"],
            directory,
            issuer=self.document["issuer"],
            heartbeat_interval_s=10.0,
            impatient_interval_s=0.5,
            start=False,
            monotonic=lambda: clock["now"],
            wall_clock=lambda: float(self.document["nowS"]),
            nonce=lambda: "nonce-1",
        )

    def test_asks_again_when_the_vectors_say(self) -> None:
        for number, case in enumerate(self.document["paces"]):
            with self.subTest(case["name"]):
                guard = self.open(os.path.join(self.directory, f"pace-{number}"), {"now": 1.0})
                answers = [answer_of(case["answer"])]
                if case["before"] is not None:
                    answers.insert(0, (200, case["before"]))
                for answer in answers:
                    self.service.handlers["/heartbeat"] = lambda _, said=answer: said
                    guard.beat()
                self.assertAlmostEqual(guard._interval_s(), case["nextBeatS"])
                guard._shut()

    def test_keeps_and_sends_reports_as_the_vectors_say(self) -> None:
        self.service.handlers["/heartbeat"] = lambda _: (503, "")
        for number, case in enumerate(self.document["queues"]):
            with self.subTest(case["name"]):
                self.play(case["steps"], os.path.join(self.directory, f"queue-{number}"))

    def play(self, steps: Any, directory: str) -> None:
        clock = {"now": 1.0}
        answers: List[Any] = []
        sent: List[str] = []

        def take(report: Dict[str, Any]) -> Answer:
            sent.append(report["checkpointId"])
            return answer_of(answers.pop(0))

        self.service.handlers["/v1/checkpoints"] = take
        guard = self.open(directory, clock)
        for index, step in enumerate(steps):
            at = f"step {index}: {step}"
            queue = guard._queue
            assert queue is not None
            clock["now"] += step.get("advanceS", 0)
            if "put" in step:
                guard.checkpoint(step["put"], "1000", "file:///models/1", 1)
            if "beat" in step:
                answers[:] = step["beat"]
                guard.beat()
                self.assertEqual(answers, [], at)
            if "restart" in step:
                guard._shut()
                guard = self.open(directory, clock)
            if "sent" in step:
                self.assertEqual(sent, step["sent"], at)
                sent.clear()
            if "waiting" in step:
                bodies = [queue.read(name) or b"" for name in queue.pending()]
                self.assertEqual([json.loads(body)["checkpointId"] for body in bodies], step["waiting"], at)
            if "refused" in step:
                self.assertEqual(self.refused(queue), step["refused"], at)
        guard._shut()

    def refused(self, queue: interlock.CheckpointQueue) -> List[str]:
        found = []
        for name in sorted(os.listdir(queue._rejected)):
            with open(os.path.join(queue._rejected, name), encoding="utf-8") as file:
                code = re.sub(r"-[0-9]{20}-.*", "", name)
                found.append(f"{code} {json.load(file)['checkpointId']}")
        return found


class Receiver(unittest.TestCase):
    def test_answers_what_the_vectors_answer(self) -> None:
        document = vectors("receiver.json")
        service = Service()
        self.addCleanup(service.close)
        service.jwks = document["jwks"]
        secret = interlock.WebhookSecret(document["secret"])
        for case in document["cases"]:
            with self.subTest(case["name"]), tempfile.TemporaryDirectory() as directory:
                client = interlock.InterlockClient(service.url, "token", wait=lambda _: None)
                options = {"issuer": document["issuer"], "start": False}
                guard = interlock.PermitGuard.open(client, document["runId"], directory, **options)
                receiver = interlock.listen_for_halts(guard, [document["secret"]], port=0)
                body = (case["body"] * case.get("repeat", 1)).encode("utf-8")
                headers = interlock.sign_webhook(secret, "msg_1", time.time(), body) if case["signed"] else {}
                connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
                connection.request("POST", "/halt", body=body, headers=headers)
                self.assertEqual(connection.getresponse().status, case["status"])
                self.assertEqual(len(guard.halts), int(case["halted"]))
                connection.close()
                receiver.close()
                guard._shut()


if __name__ == "__main__":
    unittest.main()
