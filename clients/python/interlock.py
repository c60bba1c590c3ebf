#!/usr/bin/env python3
"""Interlock for trainers, in Python: hold a permit, report checkpoints, stop on a signed halt.

One file, standard library only, Python 3.9 or later; copy it beside the training code. `PermitGuard` decides before
every step whether that step may run; `DistributedGuard` makes all ranks decide the same; `InterlockCallback` does it
for Hugging Face Trainer and Lightning; `python interlock.py sidecar -- CMD` for code that cannot be changed.

Guarantees: no step without a permit that is signed by a believed key, is for this run, answers a nonce of this process,
is no older than any seen, has time left on the monotonic clock and covers the step. A signed halt beats any permit, is
on disk before it is acknowledged, outlives restarts and ends only when a newer permit lists it as cleared. A checkpoint
is on disk when `checkpoint` returns, and is sent until Interlock has it.

Which way it fails: silence lets the permit run out and training waits; an outage shorter than what is left of the
permit changes nothing. Nothing that the other side answers is raised into the training loop: it waits, or it is halted.

Known gap: the guard binds the program that asks it. Who edits the loop is stopped by the orchestrator, not here.
The same contract as clients/typescript, held to it by clients/conformance.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import http.client
import importlib
import json
import os
import re
import secrets as random_secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import quote, urlsplit

try:
    import fcntl
except ImportError:  # Windows: nothing but the file says who holds the memory
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "EXIT_HALTED",
    "EXIT_PAUSED",
    "ComputeMeter",
    "DistributedGuard",
    "Halted",
    "InterlockCallback",
    "InterlockClient",
    "InterlockError",
    "PauseOutlasted",
    "PermitGuard",
    "compute_6nd",
    "listen_for_halts",
    "open_guard",
    "secret_file",
    "sign_webhook",
    "torch_reduce_max",
    "verify_webhook",
]

# --- how a process ends --------------------------------------------------------------------------------------

EXIT_HALTED = 86
"""A halt or a quarantine ended the training. Launchers must not restart on it; only a governed resume ends a halt."""
EXIT_PAUSED = 75
"""`max_pause_s` was over (EX_TEMPFAIL): the same command may be started again later."""


class Halted(SystemExit):
    """A halt is in force: training has ended. Uncaught, the process exits with EXIT_HALTED.

    Not an `Exception`, so that a loop that retries on whatever goes wrong does not train on.
    """

    def __init__(self, action: str, halt_id: Optional[str], reason: str) -> None:
        super().__init__(EXIT_HALTED)
        self.action = action
        self.halt_id = halt_id
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.action} {self.halt_id or ''}: {self.reason}"


class PauseOutlasted(SystemExit):
    """No permit came for `max_pause_s`: the process gives its machines back. Exits with EXIT_PAUSED."""

    def __init__(self, reason: str) -> None:
        super().__init__(EXIT_PAUSED)
        self.reason = reason

    def __str__(self) -> str:
        return f"paused for too long: {self.reason}"


class InterlockError(Exception):
    """What a call to Interlock can end in, when it does not end well. Never carries a token, a secret or a body.

    `code` is `http-<status>`, `unreachable`, `bad-reply`, `bad-configuration`, `queue-full` or `gave-up`; `retryable`
    says whether the same call may succeed later with nothing changed; `retry_after_s` is what the answer asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool = False,
        status: Optional[int] = None,
        retry_after_s: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.status = status
        self.retry_after_s = retry_after_s


def _bad_configuration(message: str) -> InterlockError:
    return InterlockError(message, code="bad-configuration")


# --- compute -------------------------------------------------------------------------------------------------

Compute = Union[int, float, str]

_DECIMAL = re.compile(r"([0-9]{1,64})(?:\.([0-9]{1,64}))?(?:[eE]([+-]?[0-9]{1,3}))?")


def is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def at_most(a: str, b: str) -> bool:
    """True only where both are decimals and a <= b, compared exactly: what cannot be read is within no ceiling."""
    left, right = _scaled(a), _scaled(b)
    if left is None or right is None:
        return False
    common = min(left[1], right[1])
    return bool(left[0] * 10 ** (left[1] - common) <= right[0] * 10 ** (right[1] - common))


def _scaled(text: str) -> Optional[Tuple[int, int]]:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, fraction, exponent = match.group(1), match.group(2) or "", match.group(3) or "0"
    return int(whole + fraction), int(exponent) - len(fraction)


def _whole(scaled: Tuple[int, int]) -> int:
    """Rounded up: compute that is rounded away would be compute that nobody evaluated."""
    digits, exponent = scaled
    return digits * int(10**exponent) if exponent >= 0 else -(-digits // int(10**-exponent))


def to_decimal(compute: Compute) -> str:
    """A compute figure as the decimal string that goes on the wire; a whole number is written out."""
    if isinstance(compute, bool):
        raise ValueError("effective_compute must be a number or a decimal string, not a truth value")
    if isinstance(compute, float):
        whole = compute.is_integer()  # false for infinities and what is no number
        text = str(int(compute)) if whole else repr(compute)
    else:
        text = str(compute)
    if not is_decimal(text):
        raise ValueError("effective_compute must be a non-negative finite decimal, such as 1e24 or '1.5e24'")
    return text


def compute_6nd(parameters: int, tokens: int) -> int:
    """Training FLOP of a dense model by the usual estimate: six per parameter and token, exactly."""
    return 6 * int(parameters) * int(tokens)


class ComputeMeter:
    """Adds up what a run spends, exactly, and says what it will have spent.

    `flop_per_step` is one optimizer step over all ranks. `efficiency_multiplier` is algorithmic efficiency against the
    reference that the policy means; 1 states physical FLOP.
    """

    def __init__(self, *, flop_per_step: int, spent: int = 0, efficiency_multiplier: str = "1") -> None:
        if flop_per_step < 1 or spent < 0:
            raise ValueError("flop_per_step must be at least 1 and spent at least 0")
        multiplier = _scaled(efficiency_multiplier)
        if multiplier is None or multiplier[0] == 0:
            raise ValueError("efficiency_multiplier must be a positive decimal string, such as '1.8'")
        self._flop_per_step = int(flop_per_step)
        self._flop = int(spent)
        self._multiplier = multiplier

    @classmethod
    def from_6nd(cls, *, parameters: int, tokens_per_step: int, **options: Any) -> "ComputeMeter":
        return cls(flop_per_step=compute_6nd(parameters, tokens_per_step), **options)

    def add(self, flop: Optional[int] = None) -> None:
        """One step more, or exactly this many FLOP where steps differ."""
        self._flop += self._flop_per_step if flop is None else int(flop)

    @property
    def spent(self) -> str:
        return self._effective(self._flop)

    def after(self, steps: int = 1) -> str:
        """Effective compute of the run once that many more steps are done: what a guard is asked for."""
        return self._effective(self._flop + steps * self._flop_per_step)

    def at_step(self, step: int) -> str:
        """Effective compute after `step` steps in all, for loops that count steps and start from zero."""
        return self._effective(step * self._flop_per_step)

    def _effective(self, flop: int) -> str:
        digits, exponent = self._multiplier
        return str(_whole((flop * digits, exponent)))


# --- Ed25519 (RFC 8032), verification only -------------------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_Point = Tuple[int, int, int, int]


def _point_add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _point_multiply(scalar: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            result = _point_add(result, point)
        point = _point_add(point, point)
        scalar >>= 1
    return result


def _point_decode(encoded: bytes) -> Optional[_Point]:
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    x_squared = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(x_squared, (_P + 3) // 8, _P)
    if (x * x - x_squared) % _P != 0:
        x = x * _SQRT_MINUS_1 % _P
    if (x * x - x_squared) % _P != 0 or (x == 0 and sign == 1):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _point_encode(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE = _point_decode((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def ed25519_verify_pure(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Without the cofactor, as OpenSSL does, so that both languages believe the same. Takes some milliseconds.

    Not in constant time, and need not be: everything here is public.
    """
    if len(public_key) != 32 or len(signature) != 64 or _BASE is None:
        return False
    point = _point_decode(public_key)
    s = int.from_bytes(signature[32:], "little")
    if point is None or s >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    negative: _Point = (_P - point[0], point[1], 1, _P - point[3])
    found = _point_add(_point_multiply(s, _BASE), _point_multiply(k, negative))
    return hmac.compare_digest(_point_encode(found), signature[:32])


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """By `cryptography` where it is installed, else in Python."""
    library = _cryptography()
    if library is None:
        return ed25519_verify_pure(public_key, message, signature)
    key_class, invalid = library
    try:
        key_class.from_public_bytes(public_key).verify(signature, message)
    except (invalid, ValueError):
        return False
    return True


_library: Optional[Tuple[Any, Any]] = None
_library_sought = False


def _cryptography() -> Optional[Tuple[Any, Any]]:
    global _library, _library_sought
    if not _library_sought:
        _library_sought = True
        try:
            keys = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
            errors = importlib.import_module("cryptography.exceptions")
            _library = keys.Ed25519PublicKey, errors.InvalidSignature
        except Exception:  # noqa: BLE001  absent, or broken as binary packages can be: Python's own arithmetic serves
            _library = None
    return _library


# --- encodings -----------------------------------------------------------------------------------------------

_INSTANT_MAX_S = 253_402_300_799  # the year 9999: an `exp` of 1e18 is not a time
_SAFE_INTEGER_MAX = 2**53 - 1


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64url(text: str) -> Optional[bytes]:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_json(data: Union[bytes, str]) -> Any:
    """Strictly: UTF-8 without a mark, no NaN. Raises ValueError."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("too deep") from None


def _parse_record(data: Optional[bytes]) -> Optional[Dict[str, Any]]:
    try:
        value = _parse_json(data) if data is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _compact_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _counter(value: Any) -> Optional[int]:
    """A whole number from zero, as JavaScript would read it: 1.0 and 1e0 are 1, true is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _SAFE_INTEGER_MAX else None


def _instant(value: Any) -> Optional[int]:
    second = _counter(value)
    return second if second is not None and second <= _INSTANT_MAX_S else None


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None


def _iso(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


# --- Standard Webhooks ---------------------------------------------------------------------------------------

_WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_WEBHOOK_TIMESTAMP = re.compile(r"[0-9]{10}")
_WEBHOOK_SIGNATURE = re.compile(r"v1,([A-Za-z0-9+/]{43}=)")
_WEBHOOK_TOLERANCE_S = 300


class WebhookSecret:
    """Holds the bytes of a `whsec_` secret where printing does not show them."""

    __slots__ = ("_bytes",)

    def __init__(self, text: str) -> None:
        encoded = text[len("whsec_") :] if text.startswith("whsec_") else ""
        try:
            value = base64.b64decode(encoded.encode("ascii"), validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if not 24 <= len(value) <= 64 or base64.b64encode(value).decode("ascii") != encoded:
            raise _bad_configuration("a webhook secret is whsec_ and the padded base64 of 24 to 64 bytes")
        self._bytes = value

    def sign(self, webhook_id: str, timestamp: str, body: bytes) -> bytes:
        content = f"{webhook_id}.{timestamp}.".encode("ascii") + body
        return hmac.new(self._bytes, content, hashlib.sha256).digest()


def sign_webhook(secret: WebhookSecret, webhook_id: str, sent_at_s: float, body: bytes) -> Dict[str, str]:
    """The id stays the same over retries; the timestamp is that of the attempt."""
    timestamp = str(int(sent_at_s))
    if not _WEBHOOK_ID.fullmatch(webhook_id) or not _WEBHOOK_TIMESTAMP.fullmatch(timestamp):
        raise ValueError("a webhook id or timestamp is not in the form that receivers accept")
    signature = base64.b64encode(secret.sign(webhook_id, timestamp, body)).decode("ascii")
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}


def verify_webhook(
    secrets: Sequence[WebhookSecret], headers: Sequence[Tuple[str, str]], body: bytes, now_s: float
) -> bool:
    """Strictly, over the raw bytes. `headers` as they came: a repeated field refuses the message."""
    webhook_id = _only_header(headers, "webhook-id")
    timestamp = _only_header(headers, "webhook-timestamp")
    signature = _only_header(headers, "webhook-signature")
    if webhook_id is None or timestamp is None or signature is None:
        return False
    if not _WEBHOOK_ID.fullmatch(webhook_id) or not _WEBHOOK_TIMESTAMP.fullmatch(timestamp):
        return False
    # Written so that a clock that is not a number refuses too.
    if not abs(now_s - int(timestamp)) <= _WEBHOOK_TOLERANCE_S:
        return False
    offered = signature.split(" ")
    if len(signature) > 1024 or len(offered) > 8:
        return False
    matches = [_WEBHOOK_SIGNATURE.fullmatch(entry) for entry in offered]
    given = [base64.b64decode(match.group(1)) for match in matches if match is not None]
    # No early exit: the time taken never says which secret matched.
    good = 0
    for secret in secrets:
        expected = secret.sign(webhook_id, timestamp, body)
        for candidate in given:
            good += hmac.compare_digest(expected, candidate)
    return good > 0


def _only_header(headers: Sequence[Tuple[str, str]], name: str) -> Optional[str]:
    values = [value for key, value in headers if key.lower() == name]
    return values[0] if len(values) == 1 and values[0] != "" else None


# --- the keys that a trainer believes ------------------------------------------------------------------------

_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEY_POINT = re.compile(r"[A-Za-z0-9_-]{43}")
_COMPACT_JWS = re.compile(r"([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_ISSUED_AHEAD_MAX_S = 60
_KEYS_MAX = 256
_STATEMENTS_MAX = 256
_STATEMENT_LENGTH_MAX = 131_072


@dataclass(frozen=True)
class KnownKey:
    kid: str
    x: str
    not_before_s: Optional[int]
    """Permits issued outside of the window are refused."""
    not_after_s: Optional[int]
    revoked_at_s: Optional[int]
    stated_at_s: int
    """When the newest statement that names it was made; 0 for a key that was pinned."""

    def covers(self, issued_at_s: int) -> bool:
        """Two clocks are compared, Interlock's now and at the rotation: a minute is left to them."""
        earliest = (self.not_before_s or 0) - _ISSUED_AHEAD_MAX_S
        latest = (_INSTANT_MAX_S if self.not_after_s is None else self.not_after_s) + _ISSUED_AHEAD_MAX_S
        return earliest <= issued_at_s <= latest

    def remembered(self) -> Dict[str, Any]:
        return {
            "kid": self.kid,
            "x": self.x,
            "notBeforeS": self.not_before_s,
            "notAfterS": self.not_after_s,
            "revokedAtS": self.revoked_at_s,
            "statedAtS": self.stated_at_s,
        }


class TrustedKeys:
    """Pinned once; then only what a believed key has signed is added (ADR 0012).

    A key set fetched later adds nothing by itself: it carries statements, each signed by a key, that name keys with
    their windows and revocations, and a statement counts if its signer is believed here and not revoked. So whoever can
    only answer in Interlock's place cannot bring a key of their own. A revocation is for ever.
    """

    def __init__(self, known: Sequence[KnownKey]) -> None:
        self._known = {key.kid: key for key in known}

    @classmethod
    def pin(cls, jwks: Any) -> "TrustedKeys":
        listed = jwks.get("keys") if isinstance(jwks, dict) else None
        keys: List[KnownKey] = []
        for entry in listed if isinstance(listed, list) else []:
            if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
                continue
            revoked = entry.get("revoked")
            revoked_at = revoked.get("revoked_at") if isinstance(revoked, dict) else None
            key = _read_key({**entry, "revokedAt": revoked_at}, stated_at_s=0)
            if key is not None:
                keys.append(key)
        if not keys:
            raise _bad_configuration("the key set holds no Ed25519 key; it is served at /.well-known/jwks.json")
        return cls(keys)

    def get(self, kid: str) -> Optional[KnownKey]:
        return self._known.get(kid)

    def remembered(self) -> List[Dict[str, Any]]:
        return [key.remembered() for key in self._known.values()]

    def revoke_remembered(self, known: Sequence[KnownKey]) -> None:
        """What was revoked stays so, whatever the keys were pinned from."""
        for key in known:
            if key.revoked_at_s is not None:
                self._revoke(key.kid, key.revoked_at_s)

    def learn(self, document: Any) -> Tuple[List[str], List[str]]:
        """What believed keys say in `statements`; again while that makes more of them believed. Added, revoked."""
        listed = document.get("statements") if isinstance(document, dict) else None
        unread = [jws for jws in listed if isinstance(jws, str)][:_STATEMENTS_MAX] if isinstance(listed, list) else []
        added: List[str] = []
        revoked: List[str] = []
        before = -1
        while len(unread) != before:
            before = len(unread)
            still: List[str] = []
            for jws in unread:
                claims = self._verified(jws)
                if claims is None:
                    still.append(jws)
                else:
                    self._apply(claims[0], claims[1], added, revoked)
            unread = still
        return added, revoked

    def _verified(self, jws: str) -> Optional[Tuple[int, List[Any]]]:
        if len(jws) > _STATEMENT_LENGTH_MAX:
            return None
        opened = _open_jws(jws, "keys+jwt", self)
        if isinstance(opened, str) or opened[1].revoked_at_s is not None:
            return None
        claims = opened[0]
        issued, keys = claims.get("iat"), claims.get("keys")
        if claims.get("aud") != "interlock/keys" or not isinstance(keys, list):
            return None
        whole = _counter(issued)
        return None if whole is None else (whole, keys)

    def _apply(self, issued_at_s: int, entries: List[Any], added: List[str], revoked: List[str]) -> None:
        for entry in entries:
            stated = _read_key(entry, stated_at_s=issued_at_s) if isinstance(entry, dict) else None
            if stated is None:
                continue
            held = self._known.get(stated.kid)
            if held is None:
                if len(self._known) < _KEYS_MAX:
                    self._known[stated.kid] = stated
                    added.append(stated.kid)
                continue
            if held.x != stated.x:
                continue
            if issued_at_s >= held.stated_at_s:
                self._known[stated.kid] = replace(
                    held,
                    not_before_s=stated.not_before_s,
                    not_after_s=stated.not_after_s,
                    stated_at_s=issued_at_s,
                )
            if stated.revoked_at_s is not None:
                if held.revoked_at_s is None:
                    revoked.append(stated.kid)
                self._revoke(stated.kid, stated.revoked_at_s)

    def _revoke(self, kid: str, at_s: int) -> None:
        held = self._known.get(kid)
        if held is not None and held.revoked_at_s is None:
            self._known[kid] = replace(held, revoked_at_s=at_s)


def _read_key(entry: Dict[str, Any], *, stated_at_s: int) -> Optional[KnownKey]:
    kid, x = entry.get("kid"), entry.get("x")
    if not isinstance(kid, str) or not _KID.fullmatch(kid) or not isinstance(x, str) or not _KEY_POINT.fullmatch(x):
        return None
    return KnownKey(
        kid, x, _counter(entry.get("nbf")), _counter(entry.get("exp")), _counter(entry.get("revokedAt")), stated_at_s
    )


def _recall_key(entry: Any) -> Optional[KnownKey]:
    if not isinstance(entry, dict):
        return None
    kid, x, stated = entry.get("kid"), entry.get("x"), _counter(entry.get("statedAtS"))
    if not isinstance(kid, str) or not isinstance(x, str) or stated is None:
        return None
    values = [entry.get(name) for name in ("notBeforeS", "notAfterS", "revokedAtS")]
    if any(value is not None and _counter(value) is None for value in values):
        return None
    return KnownKey(kid, x, values[0], values[1], values[2], stated)


# --- permits and halt orders ---------------------------------------------------------------------------------

PERMIT_LIFETIME_MAX_S = 3600
_TOKEN_LENGTH_MAX = 16_384
_HALT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _open_jws(token: str, typ: str, keys: TrustedKeys) -> Union[str, Tuple[Dict[str, Any], KnownKey]]:
    """The claims and the key that signed them, or why not. Nothing that a token names is ever fetched."""
    # Form before any decoding, so that a hostile megabyte costs little.
    parts = _COMPACT_JWS.fullmatch(token)
    if parts is None:
        return "malformed"
    header = _parse_record(_from_base64url(parts.group(1)))
    # `crit`, `jwk`, `jku`, `x5u` and whatever else a header may carry refuse the token.
    if header is None or sorted(header) != ["alg", "kid", "typ"]:
        return "header"
    if header["alg"] != "EdDSA" or header["typ"] != typ:
        return "header"
    kid = header["kid"]
    known = keys.get(kid) if isinstance(kid, str) else None
    if known is None:
        return "unknown-key"
    public_key, signature = _from_base64url(known.x), _from_base64url(parts.group(3))
    signed = token[: parts.end(2)].encode("ascii")
    if public_key is None or signature is None or not ed25519_verify(public_key, signed, signature):
        return "signature"
    claims = _parse_record(_from_base64url(parts.group(2)))
    return "claims" if claims is None else (claims, known)


@dataclass(frozen=True)
class Permit:
    issuer: str
    kid: str
    issued_at_s: int
    expires_at_s: int
    epoch: int
    seq: int
    ceiling: str
    nonce: Optional[str]
    cleared_halts: Tuple[str, ...]
    shadow_until_s: Optional[int] = None
    """A run in shadow: until then neither its ceiling nor its end stops the run."""


@dataclass(frozen=True)
class HaltOrder:
    issuer: str
    halt_id: str
    action: str
    epoch: int
    suspect: bool
    """Signed by a key that has been revoked since."""


class TokenVerifier:
    """Verifies permits and halt orders offline. A refusal is its reason, a `str`.

    A permit in doubt is no permit. A halt order has no expiry and is compared with no clock and no window, because a
    wrong clock must not keep a run going; one of a revoked key is marked `suspect`.
    Not here: whether a valid permit is fresh (nonce, epoch, sequence): that needs memory, see the guard.
    """

    def __init__(self, run_id: str, keys: TrustedKeys, issuer: Optional[str] = None) -> None:
        self._run_id = run_id
        self._keys = keys
        self._issuer = issuer  # without it that of the first valid token is kept, as the keys were

    def permit(self, token: str, now_s: float) -> Union[str, Permit]:
        opened = self._open(token, "permit+jwt", "interlock/permit")
        if isinstance(opened, str):
            return opened
        claims, known = opened
        permit = _read_permit(claims, known.kid)
        if permit is None:
            return "claims"
        if known.revoked_at_s is not None:
            return "revoked-key"
        if not 0 < permit.expires_at_s - permit.issued_at_s <= PERMIT_LIFETIME_MAX_S:
            return "lifetime"
        # Both written so that a clock that is not a number refuses too.
        if not permit.issued_at_s <= now_s + _ISSUED_AHEAD_MAX_S:
            return "issued-ahead"
        if not now_s < permit.expires_at_s:
            return "expired"
        if not known.covers(permit.issued_at_s):
            return "key-window"
        self._issuer = self._issuer or permit.issuer
        return permit

    def halt_order(self, token: str) -> Union[str, HaltOrder]:
        opened = self._open(token, "halt+jwt", "interlock/halt")
        if isinstance(opened, str):
            return opened
        order = _read_halt_order(opened[0], opened[1].revoked_at_s is not None)
        if order is None:
            return "claims"
        self._issuer = self._issuer or order.issuer
        return order

    def _open(self, token: str, typ: str, audience: str) -> Union[str, Tuple[Dict[str, Any], KnownKey]]:
        if len(token) > _TOKEN_LENGTH_MAX:
            return "malformed"
        opened = _open_jws(token, typ, self._keys)
        if isinstance(opened, str):
            return opened
        claims = opened[0]
        issuer = claims.get("iss")
        if claims.get("aud") != audience:
            return "claims"
        if claims.get("sub") != self._run_id:
            return "wrong-run"
        if not isinstance(issuer, str) or issuer == "":
            return "claims"
        if self._issuer is not None and issuer != self._issuer:
            return "issuer"
        return opened


def _read_permit(claims: Dict[str, Any], kid: str) -> Optional[Permit]:
    ceiling, nonce, cleared = claims.get("ceiling"), claims.get("nonce"), claims.get("clearedHalts")
    issued, expires = _instant(claims.get("iat")), _instant(claims.get("exp"))
    epoch, seq = _counter(claims.get("epoch")), _counter(claims.get("seq"))
    if not isinstance(ceiling, str) or not is_decimal(ceiling) or "nonce" not in claims:
        return None
    if issued is None or expires is None or epoch is None or seq is None:
        return None
    if nonce is not None and not isinstance(nonce, str):
        return None
    if not isinstance(cleared, list) or len(cleared) > 256 or not all(isinstance(each, str) for each in cleared):
        return None
    shadow_until = _instant(claims.get("shadowUntil"))
    if shadow_until is None and claims.get("shadowUntil") is not None:
        return None
    return Permit(claims["iss"], kid, issued, expires, epoch, seq, ceiling, nonce, tuple(cleared), shadow_until)


def _read_halt_order(claims: Dict[str, Any], suspect: bool) -> Optional[HaltOrder]:
    halt_id, action, epoch = claims.get("haltId"), claims.get("action"), _counter(claims.get("epoch"))
    if _instant(claims.get("iat")) is None or epoch is None:
        return None
    if not isinstance(halt_id, str) or not _HALT_ID.fullmatch(halt_id) or action not in ("halt", "quarantine"):
        return None
    return HaltOrder(claims["iss"], halt_id, action, epoch, suspect)


# --- what a trainer remembers over a restart -----------------------------------------------------------------

_CLEARED_HALTS_MAX = 4096


class Holder(NamedTuple):
    """The process that used a memory last; `started_at` tells it from a later one with the same number."""

    instance: str
    host: str
    pid: int
    started_at: Optional[str]


@dataclass(frozen=True)
class Memory:
    run_id: str
    epoch: int = 0
    seq: int = 0
    halts: Tuple[Dict[str, Any], ...] = ()
    """In force: `{haltId, action, epoch, via, receivedAt, order}` each, with the signed order itself."""
    cleared_halts: Tuple[str, ...] = ()
    """Every one that any permit has listed, the newest last."""
    keys: Tuple[KnownKey, ...] = ()
    key_set: Optional[str] = None
    holder: Optional[Holder] = None
    supersedes: Optional[str] = None
    """The process that was taken over from, until Interlock has heard of it."""


class MemoryFile:
    """One small file per run, in the same form as the TypeScript client's: either may take over from the other.

    Written beside, fsynced and renamed before anyone acts on it. A file that is there but cannot be read stops the
    start, because it may hold a halt; only a file that is not there means a fresh run.
    """

    def __init__(self, directory: str, run_id: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # The digest keeps two run ids apart on file systems that ignore case.
        suffix = hashlib.sha256(run_id.encode("utf-8")).hexdigest()[:12]
        self.name = f"interlock-{re.sub('[^A-Za-z0-9._-]', '_', run_id)}-{suffix}"
        self.path = os.path.join(directory, f"{self.name}.json")
        self._run_id = run_id
        self._lock: Optional[Any] = None

    def hold(self) -> None:
        """One process at a time, where the file system can say so. Ends with the process, however it ends."""
        if fcntl is None or self._lock is not None:
            return
        lock = open(f"{self.path}.lock", "w", encoding="ascii")
        try:
            # A lock of the process, not of the descriptor: data loaders that it forks and leaves behind do not keep it.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.close()
            raise _bad_configuration(f"{self.path} is in use: one process holds a run's permit at a time") from None
        except OSError:
            pass  # a file system without locks claims nothing: the service's own rule decides
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self) -> Memory:
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return Memory(self._run_id)
        except OSError as cause:
            raise self._unreadable() from cause
        memory = _read_memory(_parse_record(data))
        if memory is None or memory.run_id != self._run_id:
            raise self._unreadable()
        return memory

    def save(self, memory: Memory) -> None:
        document: Dict[str, Any] = {
            "runId": memory.run_id,
            "epoch": memory.epoch,
            "seq": memory.seq,
            "halts": list(memory.halts),
            "clearedHalts": list(memory.cleared_halts),
            "keys": [key.remembered() for key in memory.keys],
        }
        if memory.key_set is not None:
            document["keySet"] = memory.key_set
        if memory.holder is not None:
            instance, host, pid, started_at = memory.holder
            document["holder"] = {"instance": instance, "host": host, "pid": pid, "startedAt": started_at}
        if memory.supersedes is not None:
            document["supersedes"] = memory.supersedes
        _write_durably(self.path, _compact_json(document) + b"\n")

    def _unreadable(self) -> InterlockError:
        return _bad_configuration(
            f"{self.path} cannot be read and may hold a halt: see to it before this run trains again"
        )


def _write_durably(path: str, data: bytes) -> None:
    partial = f"{path}.{os.getpid()}.{threading.get_ident()}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise
    _sync_directory(os.path.dirname(path) or ".")


def _sync_directory(directory: str) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _read_memory(value: Optional[Dict[str, Any]]) -> Optional[Memory]:
    if value is None:
        return None
    run_id, epoch, seq = value.get("runId"), _counter(value.get("epoch")), _counter(value.get("seq"))
    halts, cleared, keys = value.get("halts"), value.get("clearedHalts"), value.get("keys", [])
    key_set, holder, supersedes = value.get("keySet"), value.get("holder"), value.get("supersedes")
    if not isinstance(run_id, str) or epoch is None or seq is None:
        return None
    if not isinstance(halts, list) or not all(_is_received_halt(halt) for halt in halts):
        return None
    if not isinstance(cleared, list) or not all(isinstance(each, str) for each in cleared):
        return None
    recalled = [_recall_key(key) for key in keys] if isinstance(keys, list) else [None]
    known = [key for key in recalled if key is not None]
    if len(known) != len(recalled) or (key_set is not None and not isinstance(key_set, str)):
        return None
    held = None if holder is None else _read_holder(holder)
    if holder is not None and held is None:
        return None
    if supersedes is not None and not isinstance(supersedes, str):
        return None
    return Memory(run_id, epoch, seq, tuple(halts), tuple(cleared), tuple(known), key_set, held, supersedes)


def _is_received_halt(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str) for name in ("haltId", "receivedAt", "order"))
        and value.get("action") in ("halt", "quarantine")
        and value.get("via") in ("heartbeat", "webhook")
        and _counter(value.get("epoch")) is not None
    )


def _read_holder(value: Any) -> Optional[Holder]:
    if not isinstance(value, dict):
        return None
    instance, host, pid, started = value.get("instance"), value.get("host"), value.get("pid"), value.get("startedAt")
    whole = _counter(pid)
    if not isinstance(instance, str) or not isinstance(host, str) or whole is None:
        return None
    if started is not None and not isinstance(started, str):
        return None
    return Holder(instance, host, whole, started)


def _this_process(instance: Optional[str]) -> Holder:
    name = instance or f"i-{random_secrets.token_hex(12)}"
    return Holder(name, socket.gethostname(), os.getpid(), _start_of(os.getpid()))


def _predecessor_of(last: Optional[Holder], own: Holder, path: str) -> Optional[str]:
    """The instance that `own` takes over from, or None where it cannot be known that it is gone."""
    if last is None or last.instance == own.instance or last.host != own.host:
        return None
    if os.name == "nt":
        return None  # asking whether a process lives would end it there
    if last.pid == own.pid and last.started_at == own.started_at:
        return last.instance  # an earlier guard of this process, which is closed or about to be
    if _is_alive(last):
        raise _bad_configuration(f"{path} is in use by process {last.pid}: one process trains a run at a time")
    return last.instance


def _is_alive(holder: Holder) -> bool:
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # there is one, and it is not ours to signal
    except (OSError, OverflowError):
        return False
    now_started = _start_of(holder.pid)
    return holder.started_at is None or now_started is None or now_started == holder.started_at


def _start_of(pid: int) -> Optional[str]:
    """Boot and clock ticks since boot, where /proc says so: the name of one life of a process number."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = file.read()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        return None
    # The second field is the command in parentheses, which may hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split(" ")
    return "ended" if fields[0] in ("Z", "X") else f"{boot}/{fields[19]}"


# --- checkpoints that Interlock does not have yet ------------------------------------------------------------

_QUEUED = re.compile(r"([0-9]{20})-([A-Za-z0-9_-]{43})\.json")
_PARTIAL_AGE_MAX_S = 86_400
_QUEUED_MAX = 4_096


class CheckpointQueue:
    """Reports on disk, one file each, named by their order and the digest of their bytes.

    A file is there whole or not at all; one whose bytes do not fit its name is set aside. Any process may put one in
    (the same report twice is one file); only the holder of the permit sends, and sending twice is harmless. What
    Interlock refuses for good goes to `rejected/`, with the code in its name, and does not hold up the next. Bounded: a
    report beyond the bound is refused to who makes it, for none that was taken may be dropped.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._rejected = os.path.join(directory, "rejected")
        os.makedirs(self._rejected, mode=0o700, exist_ok=True)
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            # A crash left it; a young one may be another process's, at work.
            try:
                if name.endswith(".partial") and time.time() - os.stat(path).st_mtime > _PARTIAL_AGE_MAX_S:
                    _remove(path)
            except FileNotFoundError:
                pass

    def put(self, body: bytes) -> str:
        digest = _base64url(hashlib.sha256(body).digest())
        queued = self.pending()
        for name in queued:
            if _digest_of(name) == digest:
                return name
        if len(queued) >= _QUEUED_MAX:
            raise InterlockError(
                f"{_QUEUED_MAX} checkpoint reports wait in {self._directory}, which is the most: see why Interlock takes "
                "none",
                code="queue-full",
                retryable=True,
            )
        # After whatever waits, whichever way the clock went.
        order = max([time.time_ns(), *(int(name[:20]) + 1 for name in queued)])
        name = f"{order:020d}-{digest}.json"
        _write_durably(os.path.join(self._directory, name), body)
        return name

    def pending(self) -> List[str]:
        """The oldest first."""
        return sorted(name for name in os.listdir(self._directory) if _QUEUED.fullmatch(name))

    def read(self, name: str) -> Optional[bytes]:
        """None where it was damaged, and is set aside, or where another process was faster."""
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                body = file.read()
        except FileNotFoundError:
            return None
        if _base64url(hashlib.sha256(body).digest()) == _digest_of(name):
            return body
        self.reject(name, "damaged")
        return None

    def checkpoint_ids(self) -> Set[str]:
        """Of what waits."""
        bodies = [self.read(name) for name in self.pending()]
        reports = [json.loads(body) for body in bodies if body is not None]
        return {str(report["checkpointId"]) for report in reports if "checkpointId" in report}

    def done(self, name: str) -> None:
        _remove(os.path.join(self._directory, name))

    def reject(self, name: str, code: str) -> None:
        try:
            os.replace(os.path.join(self._directory, name), os.path.join(self._rejected, f"{code}-{name}"))
        except FileNotFoundError:
            pass


def _digest_of(name: str) -> str:
    match = _QUEUED.fullmatch(name)
    return match.group(2) if match is not None else ""


# --- the calls that a trainer makes --------------------------------------------------------------------------

_REPLY_LENGTH_MAX = 1_048_576
_ACK_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_CHECKPOINT_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0)
# The longest that Retry-After is obeyed: an acknowledgement has to be out before its process ends.
_REPORT_RETRY_AFTER_MAX_S = 60.0
_ACK_RETRY_AFTER_MAX_S = 5.0
_RETRY_AFTER = re.compile(r"[0-9]{1,9}")
_PROBLEM = re.compile(r"urn:interlock:problem:([A-Za-z0-9._-]{1,80})")
_REFUSED_FOR_GOOD = (400, 409, 413, 415, 422)
_RETRYABLE = (408, 425, 429)
_TOKEN_FORM = re.compile(r"[\x21-\x7e]{1,4096}")
_ACTIONS = ("continue", "pause", "halt", "quarantine")
Secret = Union[str, Callable[[], str]]


def secret_file(path: str) -> Callable[[], str]:
    """Read again at each use, so that a rotation needs no restart."""

    def read() -> str:
        try:
            with open(path, encoding="ascii") as file:
                return file.read(8192).strip()
        except (OSError, ValueError):
            raise _bad_configuration(f"the secret file {path} cannot be read") from None

    return read


@dataclass(frozen=True)
class HeartbeatReply:
    action: str
    reason: Optional[str]
    order: Optional[str]
    resume_from: Optional[str]
    permit: Optional[str]
    next_checkpoint_at: Optional[str]
    retain: Tuple[str, ...]
    key_set: Optional[str]
    retry_after_s: Optional[int] = None
    """Where no permit is to be had before: seconds until asking again is of use."""
    retain_until: Mapping[str, str] = field(default_factory=dict)
    """By checkpoint, RFC 3339: to be kept at least until then. An older service says nothing of it."""


class InterlockClient:
    """Register, report a checkpoint, heartbeat, acknowledge: as thin as the contract allows.

    Redirects and proxies are not followed: a credential goes only where it was meant to go. Answers are capped in size
    and in time (a name server that hangs is not; the permit runs out meanwhile, which is the safe way). Retry-After
    lengthens a wait and never shortens one, up to a bound, for whoever answers may be wrong.
    """

    def __init__(
        self,
        url: str,
        token: Secret,
        webhook_secret: Optional[Secret] = None,
        *,
        timeout_s: float = 10.0,
        ca_file: Optional[str] = None,
        wait: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise _bad_configuration("url must be http://HOST:PORT or https://HOST, without a user name")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._token, self._webhook_secret = token, webhook_secret
        self._timeout_s, self._wait, self._wall_clock = timeout_s, wait, wall_clock
        self._context = ssl.create_default_context(cafile=ca_file) if self._secure else None
        if isinstance(webhook_secret, str):
            WebhookSecret(webhook_secret)  # says so now, not at the first checkpoint
        if isinstance(token, str):
            self._bearer()

    @classmethod
    def from_environment(cls, **options: Any) -> "InterlockClient":
        """INTERLOCK_URL; INTERLOCK_TOKEN and INTERLOCK_WEBHOOK_SECRET, or ..._FILE of each; INTERLOCK_CA_FILE."""
        url = os.environ.get("INTERLOCK_URL", "")
        token = _secret_of("INTERLOCK_TOKEN")
        if url == "" or token is None:
            raise _bad_configuration("set INTERLOCK_URL, and INTERLOCK_TOKEN or INTERLOCK_TOKEN_FILE")
        ca_file = os.environ.get("INTERLOCK_CA_FILE") or None
        return cls(url, token, _secret_of("INTERLOCK_WEBHOOK_SECRET"), **{"ca_file": ca_file, **options})

    def register(self, run: Dict[str, Any]) -> Optional[str]:
        """Answers the first permit's token as it came; the guard asks for one of its own, with a nonce."""
        reply, _ = self._call("POST", "/v1/runs", self._bearer(), _compact_json(run))
        return _text(reply.get("permit")) if isinstance(reply, dict) else None

    def report_checkpoint(self, body: bytes) -> str:
        """Signed and sent with retries, under one id that its bytes give. The queue's way is `send_checkpoint`."""
        for delay_s in _CHECKPOINT_DELAYS_S:
            try:
                return self.send_checkpoint(body)
            except InterlockError as error:
                if not error.retryable:
                    raise
                self._wait(_delay_s(delay_s, error, _REPORT_RETRY_AFTER_MAX_S))
        return self.send_checkpoint(body)

    def send_checkpoint(self, body: bytes) -> str:
        """One attempt. Answers the disposition: `evaluate` or `recorded`."""
        if self._webhook_secret is None:
            raise _bad_configuration("a checkpoint is signed: give the client a webhook_secret (whsec_...)")
        secret = WebhookSecret(_value_of(self._webhook_secret))
        headers = sign_webhook(secret, report_id(body), self._wall_clock(), body)
        reply, _ = self._call("POST", "/v1/checkpoints", headers, body)
        disposition = reply.get("disposition") if isinstance(reply, dict) else None
        if disposition not in ("evaluate", "recorded"):
            raise _bad_reply("no disposition")
        return str(disposition)

    def heartbeat(self, run_id: str, beat: Dict[str, Any]) -> HeartbeatReply:
        """Not retried here: a late one is worthless, and the guard sends the next."""
        path = f"/v1/runs/{quote(run_id, safe='')}/heartbeat"
        reply, retry_after_s = self._call("POST", path, self._bearer(), _compact_json(beat))
        return replace(_read_heartbeat_reply(reply), retry_after_s=retry_after_s)

    def acknowledge_halt(self, halt_id: str, state: str) -> None:
        body = _compact_json({"state": state, "at": _iso(self._wall_clock())})
        path = f"/v1/halts/{quote(halt_id, safe='')}/ack"
        for delay_s in (*_ACK_DELAYS_S, None):
            try:
                self._call("POST", path, self._bearer(), body)
                return
            except InterlockError as error:
                if not error.retryable or delay_s is None:
                    raise
                self._wait(_delay_s(delay_s, error, _ACK_RETRY_AFTER_MAX_S))

    def finish(self, run_id: str) -> None:
        """Declares the run finished: it gets no permit from here on."""
        self._call("POST", f"/v1/runs/{quote(run_id, safe='')}/finish", self._bearer(), b"{}")

    def jwks(self) -> Any:
        return self._call("GET", "/.well-known/jwks.json", {}, None)[0]

    def _bearer(self) -> Dict[str, str]:
        token = _value_of(self._token)
        # Before http.client sees it: its error for a bad header quotes the value.
        if not _TOKEN_FORM.fullmatch(token):
            raise _bad_configuration("the token must be printable ASCII without spaces")
        return {"authorization": f"Bearer {token}"}

    def _call(
        self, method: str, path: str, headers: Dict[str, str], body: Optional[bytes]
    ) -> Tuple[Any, Optional[int]]:
        """What was answered, and after how many seconds to come again."""
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        # The socket's own timeout starts afresh with every byte that drips in; this one does not.
        cut = threading.Timer(self._timeout_s, _cut, [connection])
        cut.daemon = True
        cut.start()
        more = {"accept": "application/json", "connection": "close"}
        if body is not None:
            more["content-type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, body=body, headers={**headers, **more})
            response = connection.getresponse()
            status, data = response.status, response.read(_REPLY_LENGTH_MAX + 1)
            retry_after_s = _read_retry_after(response.headers.get("retry-after"))
        except (OSError, http.client.HTTPException, ValueError) as cause:
            kind = type(cause).__name__
            raise InterlockError(f"Interlock is unreachable ({kind})", code="unreachable", retryable=True) from None
        finally:
            cut.cancel()
            connection.close()
        if not 200 <= status <= 299:
            raise _http_error(status, retry_after_s, data)
        if len(data) > _REPLY_LENGTH_MAX:
            raise _bad_reply("too long")
        if data == b"":
            return None, retry_after_s
        try:
            return _parse_json(data), retry_after_s
        except ValueError:
            raise _bad_reply("not JSON") from None


def _cut(connection: http.client.HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was over already


def _read_retry_after(text: Optional[str]) -> Optional[int]:
    """Seconds alone. A date would be compared with a clock of ours; without it our own delays stand."""
    return int(text) if text is not None and _RETRY_AFTER.fullmatch(text) else None


def _delay_s(own_s: float, error: InterlockError, asked_max_s: float) -> float:
    return max(own_s, min(error.retry_after_s or 0, asked_max_s))


def report_body(
    run_id: str,
    checkpoint_id: str,
    effective_compute: Compute,
    model_uri: str,
    step: Optional[int],
    *,
    weights_digest: Optional[str] = None,
    parents: Optional[Sequence[str]] = None,
    training_stage: Optional[Mapping[str, Compute]] = None,
) -> bytes:
    """The bytes of a report: the same report gives the same bytes, and so the same webhook id, in both clients."""
    report: Dict[str, Any] = {
        "runId": run_id,
        "checkpointId": checkpoint_id,
        "effectiveCompute": to_decimal(effective_compute),
    }
    if step is not None:
        report["step"] = int(step)
    report["modelUri"] = model_uri
    if weights_digest is not None:
        report["weightsDigest"] = weights_digest
    if parents is not None:
        report["parents"] = list(parents)
    if training_stage is not None:
        report["trainingStage"] = dict(training_stage)
    return _compact_json(report)


def _stage(name: str, compute: Optional[Compute]) -> Dict[str, Compute]:
    return {"name": name} if compute is None else {"name": name, "compute": to_decimal(compute)}


def report_id(body: bytes) -> str:
    return f"cp_{_base64url(hashlib.sha256(body).digest())}"


def is_retryable(status: int) -> bool:
    return status in _RETRYABLE or status >= 500


def _value_of(secret: Secret) -> str:
    return secret if isinstance(secret, str) else secret()


def _secret_of(name: str) -> Optional[Secret]:
    path = os.environ.get(f"{name}_FILE")
    return secret_file(path) if path else os.environ.get(name) or None


def _http_error(status: int, retry_after_s: Optional[int], data: bytes) -> InterlockError:
    # Only the machine's code of the problem: its prose may quote what was sent.
    problem = _parse_record(data[:65_536])
    named = _PROBLEM.fullmatch(_text((problem or {}).get("type")) or "")
    word = f" ({named.group(1)})" if named is not None else ""
    return InterlockError(
        f"Interlock answered {status}{word}",
        code=f"http-{status}",
        retryable=is_retryable(status),
        status=status,
        retry_after_s=retry_after_s,
    )


def _bad_reply(what: str) -> InterlockError:
    return InterlockError(f"Interlock's reply is not usable: {what}", code="bad-reply", retryable=True)


def _read_heartbeat_reply(reply: Any) -> HeartbeatReply:
    directive = reply.get("directive") if isinstance(reply, dict) else None
    if not isinstance(directive, dict):
        raise _bad_reply("no directive")
    if directive.get("action") not in _ACTIONS:
        raise _bad_reply("unknown directive")
    retain, due = reply.get("retain"), _text(reply.get("nextCheckpointAt"))
    until = reply.get("retainUntil")
    return HeartbeatReply(
        action=str(directive["action"]),
        reason=_text(directive.get("reason")),
        order=_text(directive.get("order")),
        resume_from=_text(directive.get("resumeFrom")),
        permit=_text(reply.get("permit")),
        next_checkpoint_at=due if due is not None and is_decimal(due) else None,
        retain=tuple(each for each in retain if isinstance(each, str)) if isinstance(retain, list) else (),
        key_set=_text(reply.get("keySet")),
        retain_until={key: at for key, at in until.items() if isinstance(at, str)} if isinstance(until, dict) else {},
    )


# --- the guard -----------------------------------------------------------------------------------------------

_KEY_SET_AGE_MAX_S = 300.0
_HALTS_STATED_MAX = 32
_ACKNOWLEDGEMENTS_MAX_S = 20.0
_DELIVERY_DELAY_MAX_S = 60.0
# With a permit in hand no more than a third of what is left of it.
_BEAT_RETRY_AFTER_MAX_S = 30.0


class Verdict(NamedTuple):
    verdict: str
    """`go`, `pause` or `stop`."""
    reason: str = ""
    halt: Optional[Dict[str, Any]] = None


class _Held(NamedTuple):
    permit: Permit
    expires_at: float
    shadow_until: Optional[float] = None
    """On the monotonic clock."""


def _monotonic() -> float:
    """Counts the time that a machine sleeps too, where the platform can."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class PermitGuard:
    """Decides, offline, whether the next step may run. One per run; on rank 0 where there are ranks (DistributedGuard).

        guard = PermitGuard.open(client, "my-run", "./interlock-state")
        for step in range(steps):
            guard.step(meter.after())          # waits without a permit; raises Halted
            train_one_step(); meter.add()
            if guard.checkpoint_due(meter.spent):
                guard.checkpoint(f"step-{step}", meter.spent, save(), step)
        guard.close()

    A daemon thread sends heartbeats, and before each the checkpoints that wait on disk: compute past the due point
    without its checkpoint would read as overdue.
    """

    def __init__(
        self,
        client: Any,
        run_id: str,
        *,
        file: MemoryFile,
        memory: Memory,
        keys: TrustedKeys,
        queue: Optional[CheckpointQueue],
        supersedes: Optional[str],
        heartbeat_interval_s: float,
        impatient_interval_s: float,
        issuer: Optional[str],
        on_event: Optional[Callable[[Dict[str, Any]], None]],
        on_halt: Optional[Callable[[Halted], None]],
        final_checkpoint_s: float,
        max_pause_s: Optional[float],
        monotonic: Callable[[], float],
        wall_clock: Callable[[], float],
        nonce: Callable[[], str],
    ) -> None:
        self._client, self._run_id = client, run_id
        self._file, self._memory, self._keys, self._queue = file, memory, keys, queue
        self._verifier = TokenVerifier(run_id, keys, issuer)
        self._supersedes = supersedes  # said with each heartbeat until a permit shows that it was heard
        self._heartbeat_interval_s = heartbeat_interval_s
        self._impatient_interval_s = min(impatient_interval_s, heartbeat_interval_s)
        self._on_event, self._on_halt = on_event, on_halt
        self._ending, self._max_pause_s = _Ending(final_checkpoint_s, self._emit), max_pause_s
        self._trained = False
        self._monotonic, self._wall_clock, self._nonce = monotonic, wall_clock, nonce
        self._pid = os.getpid()
        # One lock for what both the loop and the heartbeats touch; never held over a call to Interlock.
        self._changed = threading.Condition(threading.RLock())
        self._beating = threading.Lock()
        self._thread: Optional[threading.Thread] = None
        self._acknowledgements: List[threading.Thread] = []
        self._closing = False
        self._left = False
        self._hurry = False
        self._waiting = 0
        self._pause_told: Optional[str] = None
        self._unsaved = False
        self._held: Optional[_Held] = None
        self._paused_because: Optional[str] = None
        # An order of a revoked key came at this time: only a permit asked for after it lets the run go on.
        self._suspect_at: Optional[float] = None
        self._keys_asked_at = monotonic()
        self._last_beat_failed = False
        self._last_action: Optional[str] = None
        # The contract takes no zero: a run that has not begun states the least that it could have spent.
        self._progress: Dict[str, Any] = {"effectiveCompute": "1"}
        self._training_stage: Optional[Dict[str, Compute]] = None
        self._granted: Optional[Dict[str, Any]] = None
        self._next_checkpoint_at: Optional[str] = None
        self._checkpoint_at: Optional[str] = None
        # None until Interlock has answered.
        self._retain: Optional[Tuple[str, ...]] = None
        self._retain_until: Mapping[str, str] = {}
        # Reported here, or left on disk before, and not yet answered for: whether Interlock needs them is not known.
        self._unheard: Set[str] = set() if queue is None else queue.checkpoint_ids()
        self._resume_from: Optional[str] = None
        self._delivery_failures = 0
        self._deliver_at = 0.0
        self._undelivered = False
        # Until then Interlock does not want to be asked.
        self._not_before = 0.0

    @classmethod
    def open(
        cls,
        client: Any,
        run_id: str,
        state_directory: str,
        *,
        heartbeat_interval_s: float = 30.0,
        impatient_interval_s: float = 0.5,
        jwks: Any = None,
        instance: Optional[str] = None,
        supersedes: Optional[str] = None,
        issuer: Optional[str] = None,
        on_event: Optional[Callable[[Dict[str, Any]], None]] = None,
        on_halt: Optional[Callable[[Halted], None]] = None,
        final_checkpoint_s: float = 120.0,
        max_pause_s: Optional[float] = None,
        patience_s: float = 60.0,
        start: bool = True,
        monotonic: Callable[[], float] = _monotonic,
        wall_clock: Callable[[], float] = time.time,
        nonce: Optional[Callable[[], str]] = None,
    ) -> "PermitGuard":
        """Reads the memory and the keys, and starts the heartbeats.

        Raises where either cannot be had, for without them nothing may train (the first keys are waited for, up to
        `patience_s`), and where another process that is alive uses the same memory.

        `state_directory` must outlive the process: it holds the halts in force. `on_halt` is called once when a halt
        ends the training, for a last checkpoint; from the decision to end on, the process has `final_checkpoint_s`
        for everything, and is then ended. `start` and what follows it are for tests.
        """
        file = MemoryFile(state_directory, run_id)
        file.hold()
        try:
            remembered = file.load()
            holder = _this_process(instance)
            gone = _predecessor_of(remembered.holder, holder, file.path)
            # One that came and went unheard leaves its own predecessor: the one whose permit Interlock still counts.
            before = supersedes or (None if gone is None else remembered.supersedes or gone)
            if jwks is None and remembered.keys:
                keys = TrustedKeys(remembered.keys)
            else:
                keys = TrustedKeys.pin(_first_key_set(client, patience_s) if jwks is None else jwks)
            keys.revoke_remembered(remembered.keys)
            memory = replace(remembered, keys=_known(keys), holder=holder, supersedes=before)
            file.save(memory)
            queue = CheckpointQueue(os.path.join(state_directory, f"{file.name}.queue"))
        except BaseException:
            file.release()
            raise
        guard = cls(
            client,
            run_id,
            file=file,
            memory=memory,
            keys=keys,
            queue=queue,
            supersedes=before,
            heartbeat_interval_s=heartbeat_interval_s,
            impatient_interval_s=impatient_interval_s,
            issuer=issuer,
            on_event=on_event,
            on_halt=on_halt,
            final_checkpoint_s=final_checkpoint_s,
            max_pause_s=max_pause_s,
            monotonic=monotonic,
            wall_clock=wall_clock,
            nonce=nonce or (lambda: random_secrets.token_urlsafe(16)),
        )
        if start:
            guard.start()
        return guard

    # what the training loop calls

    def step(self, effective_compute: Compute, step: Optional[int] = None) -> None:
        """Returns once the step that brings the run to `effective_compute` may be taken; raises Halted.

        Asking for a step says that the one before was taken: its compute goes out with the next heartbeat.
        """
        stop = self.decide(effective_compute, step)
        if stop is not None:
            self.end(stop)

    def decide(self, effective_compute: Compute, step: Optional[int] = None) -> Optional[Verdict]:
        """As `step`, for loops that have something to do before they end: the halt's verdict, to be handed to `end`."""
        if os.getpid() != self._pid:
            raise _bad_configuration("the guard belongs to the process that opened it, not to one forked from it")
        compute = to_decimal(effective_compute)
        with self._changed:
            self._spend(compute)
        verdict = self.wait(compute, timeout_s=self._max_pause_s)
        if verdict.verdict == "stop":
            self._ending.begin()
            return verdict
        if verdict.verdict == "pause":
            self.close()
            raise PauseOutlasted(verdict.reason)
        self.grant(compute, step)
        return None

    def may_train(self, effective_compute: Compute) -> Verdict:
        """What is known now, without asking anyone."""
        compute = to_decimal(effective_compute)
        with self._changed:
            if self._memory.halts:
                halt = self._memory.halts[0]
                return Verdict("stop", f"{halt['action']} ordered", halt)
            if self._suspect_at is not None:
                return Verdict("pause", "an order signed by a revoked key; waiting for a fresh permit")
            if self._paused_because is not None:
                return Verdict("pause", self._paused_because)
            if self._held is None:
                return Verdict("pause", "no permit")
            if self._is_shadowed(self._held):
                return Verdict("go")
            if not self._remaining_s(self._held) > 0:
                return Verdict("pause", "permit expired")
            if not at_most(compute, self._held.permit.ceiling):
                return Verdict("pause", "ceiling reached")
            return Verdict("go")

    def wait(self, effective_compute: Compute, timeout_s: Optional[float] = None) -> Verdict:
        """Until the step may run or a halt is in force; the pause's verdict where `timeout_s` is over before."""
        compute = to_decimal(effective_compute)
        give_up_at = None if timeout_s is None else self._monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            try:
                while True:
                    verdict = self.may_train(compute)
                    if verdict.verdict != "pause":
                        self._pause_told = None
                        return verdict
                    if self._closing:
                        raise InterlockError("waiting for a permit was given up", code="gave-up")
                    if verdict.reason != self._pause_told:
                        self._pause_told = verdict.reason
                        self._emit(kind="paused", reason=verdict.reason)
                        self._hurry = True  # a permit may be ready that we have not asked for
                        self._changed.notify_all()
                    # In short waits, so that a signal's handler runs and an expiry is seen.
                    left_s = 0.5 if give_up_at is None else min(0.5, give_up_at - self._monotonic())
                    if left_s <= 0:
                        return verdict
                    self._changed.wait(left_s)
            finally:
                self._waiting -= 1

    def grant(self, effective_compute: Compute, step: Optional[int] = None) -> None:
        """Notes a step as being taken; its compute counts as spent when the next is asked for."""
        with self._changed:
            self._granted = _progress(effective_compute, step)
            self._trained = True

    def report(self, effective_compute: Compute, step: Optional[int] = None) -> None:
        """The compute really spent, for loops that do not call `step`."""
        with self._changed:
            self._granted = None
            self._progress = _progress(effective_compute, step)

    def enter_stage(self, name: str, compute: Optional[Compute] = None) -> None:
        """The training stage from here on (`rl`, `fine-tuning`), said with heartbeats and checkpoints: another one is due a checkpoint.

        `compute` is that of the stage alone, where it is more than the run has trained since the stage began; call again
        as it grows. Say it after each start: the guard does not remember it.
        """
        stage = _stage(name, compute)
        with self._changed:
            self._hurry = self._hurry or stage.get("name") != (self._training_stage or {}).get("name")
            self._training_stage = stage
            self._changed.notify_all()

    def checkpoint(
        self,
        checkpoint_id: str,
        effective_compute: Compute,
        model_uri: str,
        step: Optional[int] = None,
        *,
        weights_digest: Optional[str] = None,
        parents: Optional[Sequence[str]] = None,
    ) -> None:
        """On disk when it returns; sent in order by the heartbeat thread until Interlock has it.

        `weights_digest` (`sha256:...`) is the name by which later runs may state these weights as a parent; `parents`
        are weights of other runs that were merged in since the checkpoint before.
        """
        if self._queue is None:
            raise _bad_configuration("this guard has no checkpoint queue")
        body = report_body(
            self._run_id,
            checkpoint_id,
            effective_compute,
            model_uri,
            step,
            weights_digest=weights_digest,
            parents=parents,
            training_stage=self._training_stage,
        )
        self._queue.put(body)
        with self._changed:
            self._unheard.add(checkpoint_id)
            self._checkpoint_at = to_decimal(effective_compute)
            self._hurry = True
            self._changed.notify_all()

    def checkpoint_due(self, effective_compute: Compute) -> bool:
        """Whether Interlock wants a checkpoint by now, as far as the last heartbeat knew, and none was made since."""
        due, made = self._next_checkpoint_at, self._checkpoint_at
        if due is None or (made is not None and at_most(due, made)):
            return False
        return at_most(due, to_decimal(effective_compute))

    @property
    def retain(self) -> Tuple[str, ...]:
        """Checkpoints that Interlock still needs: do not delete them."""
        return self._retain or ()

    @property
    def retain_until(self) -> Mapping[str, str]:
        """Of each of them, until when at least (RFC 3339), as the last answer said."""
        return self._retain_until

    def can_delete(self, checkpoint_id: str) -> bool:
        """Ask before you delete a checkpoint: true only where Interlock knows of it and does not need it."""
        with self._changed:
            known = self._retain is not None and checkpoint_id not in self._unheard
            return known and checkpoint_id not in (self._retain or ())

    @property
    def resume_from(self) -> Optional[str]:
        """The checkpoint to go back to, where Interlock named one."""
        return self._resume_from

    @property
    def halts(self) -> Tuple[Dict[str, Any], ...]:
        return self._memory.halts

    @property
    def instance(self) -> str:
        holder = self._memory.holder
        return "" if holder is None else holder.instance

    # how it ends

    def end(self, verdict: Verdict, agree: Callable[[], None] = lambda: None) -> None:
        """Ends the training for a halt: the hook, the acknowledgement, Halted. Never returns.

        `agree` is called when this process has stopped, and again when Interlock has been told (ranks meet there).
        The hook is not called where this process has trained nothing: there would be nothing new to save.
        """
        halt = verdict.halt or {}
        halted = Halted(str(halt.get("action", "halt")), halt.get("haltId"), verdict.reason)
        self._ending.begin()
        with self._changed:
            self._spend()
        if self._on_halt is not None and self._trained:
            _quietly(self._on_halt, (halted,), self._emit, "on-halt-failed")
        _quietly(agree, (), self._emit, "ranks-not-met")
        self.acknowledge_stopped()
        _quietly(agree, (), self._emit, "ranks-not-met")
        self._shut()
        self._ending.over()
        raise halted

    def acknowledge_stopped(self) -> None:
        """Tells Interlock that training has stopped, for every halt in force, and gives the permit back: this process
        trains no more. Bounded; raises nothing.
        """
        # First everything that was trained: compute that Interlock hears of after "stopped" reads as a run that
        # moves again, and reopens the halt. A beat under way may carry an older figure, hence one more.
        self.leave()
        self._join_acknowledgements()
        for halt in self._memory.halts:
            self._acknowledge_in_background(halt["haltId"], "stopped")
        self._join_acknowledgements()

    def leave(self) -> None:
        """Gives the permit back: this process trains no more, and another of the run may begin at once."""
        with self._changed:
            self._spend()
            self._left = True
            self._held = None
            self._changed.notify_all()
        self.beat()

    def flush(self, timeout_s: float) -> bool:
        """Waits until no checkpoint is left on disk; False if some are when the time is over."""
        give_up_at = self._monotonic() + timeout_s
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
        while self._queue is not None and self._queue.pending():
            left_s = give_up_at - self._monotonic()
            if left_s <= 0:
                return False
            with self._changed:
                self._changed.wait(min(0.2, left_s))
        return True

    def close(self) -> None:
        """Leaves, and ends the heartbeats. Checkpoints still on disk are sent at the next start."""
        if not self._closing and not self._memory.halts:
            self.leave()
        self._shut()

    def _shut(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)
        self._join_acknowledgements()
        self._file.release()

    def __enter__(self) -> "PermitGuard":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # heartbeats

    def start(self) -> None:
        """The first beat goes out at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="interlock-heartbeat", daemon=True)
            self._thread.start()

    def beat(self) -> None:
        """One heartbeat now, after one that is under way. Raises nothing."""
        with self._beating:
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001  whatever it is, the permit runs out and training waits
                self._last_beat_failed = True
                self._heed(error.retry_after_s if isinstance(error, InterlockError) else None)
                code = error.code if isinstance(error, InterlockError) else "unexpected"
                self._emit(kind="heartbeat-failed", code=code)
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._closing:
            self.beat()
            with self._changed:
                next_at = self._monotonic() + self._interval_s()
                while not self._closing:
                    now = self._monotonic()
                    left_s = (self._not_before if self._hurry else next_at) - now
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)
                self._hurry = False

    def _interval_s(self) -> float:
        return max(self._own_interval_s(), self._not_before - self._monotonic())

    def _own_interval_s(self) -> float:
        if self._held is None or self._last_beat_failed or self._waiting > 0:
            return self._impatient_interval_s
        permit = self._held.permit
        calm_s = min(self._heartbeat_interval_s, (permit.expires_at_s - permit.issued_at_s) / 3)
        if not self._undelivered:
            return calm_s
        return min(calm_s, max(self._impatient_interval_s, self._deliver_at - self._monotonic()))

    def _heed(self, retry_after_s: Optional[int]) -> None:
        """Whoever answers may ask for peace, and not for so long that the permit in hand runs out meanwhile."""
        left_s = 0.0 if self._held is None else self._remaining_s(self._held)
        max_s = min(_BEAT_RETRY_AFTER_MAX_S, left_s / 3) if left_s > 0 else _BEAT_RETRY_AFTER_MAX_S
        self._not_before = self._monotonic() + min(retry_after_s or 0, max_s)

    def _beat(self) -> None:
        with self._changed:
            self._saved()
            nonce = self._nonce()
            # Before the checkpoints go: whatever this compute needs is among them.
            beat = {**self._progress, "nonce": nonce, **self._standing()}
            waiting = set(self._unheard)
        try:
            self._deliver()
        except OSError:
            self._undelivered = True  # the disk's doing; what it holds is tried again
        sent_at = self._monotonic()
        reply = self._client.heartbeat(self._run_id, beat)
        self._last_beat_failed = False
        # Before anything signed is judged: it may be signed by a key that this brings, or takes away.
        self._refresh_keys(reply.key_set)
        with self._changed:
            self._next_checkpoint_at = reply.next_checkpoint_at
            self._retain, self._retain_until = reply.retain, reply.retain_until
            if not self._undelivered:
                self._unheard -= waiting
        self._resume_from = reply.resume_from or self._resume_from
        if reply.action != self._last_action:
            self._emit(kind="directive", action=reply.action, reason=reply.reason)
        self._last_action = reply.action
        if reply.action in ("halt", "quarantine"):
            outcome = "refused" if reply.order is None else self.receive_order(reply.order, "heartbeat")
            if outcome in ("refused", "cleared", "suspect"):
                with self._changed:
                    self._paused_because = f"{reply.action} directive without a valid order"
            return
        if reply.permit is not None and not self._left:
            self._accept_permit(reply.permit, nonce, sent_at)
        with self._changed:
            self._paused_because = (reply.reason or "held") if reply.action == "pause" else None
        self._heed(reply.retry_after_s)

    def _standing(self) -> Dict[str, Any]:
        """What Interlock must know of this process beside its progress."""
        standing: Dict[str, Any] = {"instance": self.instance}
        if self._training_stage is not None:
            standing["trainingStage"] = self._training_stage
        if self._supersedes is not None:
            standing["supersedes"] = self._supersedes
        halts = [halt["haltId"] for halt in self._memory.halts][-_HALTS_STATED_MAX:]
        if halts:
            standing["halts"] = halts
        if self._left:
            standing["leaving"] = True
        return standing

    def _deliver(self) -> None:
        """Sends what waits, in order, one attempt each; the first failure ends it until its delay is over.

        A connection that fails has no delay of its own: the heartbeat that follows fails as well, and after an outage
        reports must go before the compute that needs them.
        """
        if self._queue is None:
            return
        pending = self._queue.pending()
        self._undelivered = len(pending) > 0
        if self._monotonic() < self._deliver_at:
            return
        for name in pending:
            body = self._queue.read(name)
            if body is None:
                continue
            try:
                disposition = self._client.send_checkpoint(body)
            except InterlockError as error:
                if error.status in _REFUSED_FOR_GOOD:
                    self._queue.reject(name, error.code)
                    self._checkpoint_at = None  # it counts for nothing: another one is due
                    self._emit(kind="checkpoint-refused", file=name, code=error.code)
                    continue
                # Also what may be put right outside: a token that is being replaced, a run not registered yet.
                if error.code != "unreachable":
                    self._delivery_failures += 1
                    own_s = min(_DELIVERY_DELAY_MAX_S, 0.2 * 2 ** min(self._delivery_failures, 12))
                    self._deliver_at = self._monotonic() + _delay_s(own_s, error, _REPORT_RETRY_AFTER_MAX_S)
                self._emit(kind="checkpoint-waits", file=name, code=error.code)
                return
            self._queue.done(name)
            self._emit(kind="checkpoint-delivered", file=name, disposition=disposition)
        self._delivery_failures = 0
        self._undelivered = False

    def _refresh_keys(self, key_set: Optional[str]) -> None:
        """Asks for the key set where it is another or was not asked for in a while; failing is no reason to stop."""
        now = self._monotonic()
        another = key_set is not None and key_set != self._memory.key_set
        if not another and now - self._keys_asked_at < _KEY_SET_AGE_MAX_S:
            return
        try:
            # Outside of the lock: signatures take their time, and only this thread teaches keys.
            added, revoked = self._keys.learn(self._client.jwks())
            with self._changed:
                self._keys_asked_at = now
                self._memory = replace(
                    self._memory, keys=_known(self._keys), key_set=key_set or self._memory.key_set
                )
                self._unsaved = True
                self._saved()
            if added or revoked:
                self._emit(kind="keys-learned", added=added, revoked=revoked)
        except InterlockError as error:
            self._emit(kind="keys-not-learned", code=error.code)
        with self._changed:
            # The permit in hand is worth no more than the key that signed it.
            held = self._held
            signer = None if held is None else self._keys.get(held.permit.kid)
            if signer is not None and signer.revoked_at_s is not None:
                self._held = None
                self._emit(kind="permit-dropped", reason="revoked-key")

    def _accept_permit(self, token: str, nonce: str, sent_at: float) -> None:
        verified = self._verifier.permit(token, self._wall_clock())
        refused = verified if isinstance(verified, str) else self._staleness(verified, nonce)
        if isinstance(verified, str) or refused is not None:
            self._emit(kind="permit-refused", reason=refused)
            return
        permit = verified
        with self._changed:
            cleared = [halt for halt in self._memory.halts if halt["haltId"] in permit.cleared_halts]
            # A permit lists the newest; what was cleared once stays so.
            ever = tuple(dict.fromkeys((*self._memory.cleared_halts, *permit.cleared_halts)))[-_CLEARED_HALTS_MAX:]
            memory = replace(
                self._memory,
                epoch=permit.epoch,
                seq=permit.seq,
                cleared_halts=ever,
                halts=tuple(halt for halt in self._memory.halts if halt not in cleared),
                supersedes=None,
            )
            try:
                self._file.save(memory)
            except OSError:
                self._emit(kind="permit-refused", reason="not-saved")
                return
            self._memory, self._unsaved, self._supersedes = memory, False, None
            if self._suspect_at is not None and sent_at > self._suspect_at:
                self._suspect_at = None
            told = None if self._held is None else self._held.permit.shadow_until_s
            until = permit.shadow_until_s
            self._held = _Held(
                permit,
                sent_at + (permit.expires_at_s - permit.issued_at_s),
                None if until is None else sent_at + (until - permit.issued_at_s),
            )
        if until != told:
            # From here on neither the ceiling nor the end of a permit stops the run; None: from here on they do again.
            self._emit(kind="shadow", until=None if until is None else _iso(until))
        for halt in cleared:
            self._emit(kind="halt-cleared", haltId=halt["haltId"])
        self._emit(kind="permit", epoch=permit.epoch, seq=permit.seq, ceiling=permit.ceiling)

    def _staleness(self, permit: Permit, nonce: str) -> Optional[str]:
        """Why a permit with a good signature is still not the newest word."""
        if permit.nonce != nonce:
            return "nonce"
        if permit.epoch < self._memory.epoch:
            return "older-epoch"
        if permit.epoch == self._memory.epoch and permit.seq < self._memory.seq:
            return "older-seq"
        return None

    def _remaining_s(self, held: _Held) -> float:
        """On the monotonic clock. The wall clock is a second fence: set back it gains nothing, set forward it stops."""
        return min(held.expires_at - self._monotonic(), held.permit.expires_at_s - self._wall_clock())

    def _is_shadowed(self, held: _Held) -> bool:
        """By both clocks, as a permit's life."""
        until_s, until = held.permit.shadow_until_s, held.shadow_until
        return until_s is not None and until is not None and self._wall_clock() < until_s and self._monotonic() < until

    # halts

    def receive_order(self, order: str, via: str) -> str:
        """Takes a signed halt order from any channel; it is on disk when this returns. Raises nothing.

        `halted`: newly in force. `raised`: a halt in force became a quarantine. `not-saved`: in force, in memory only.
        `suspect`: of a revoked key, obeyed until Interlock says otherwise. Also `known`, `cleared`, `refused`.
        """
        verified = self._verifier.halt_order(order)
        if isinstance(verified, str):
            self._emit(kind="order-refused", reason=verified, via=via)
            return "refused"
        with self._changed:
            # A replayed old order must not stop a run that was resumed: the permit that cleared it says so.
            if verified.halt_id in self._memory.cleared_halts:
                return "cleared"
            known = next((halt for halt in self._memory.halts if halt["haltId"] == verified.halt_id), None)
            raised = known is not None and known["action"] == "halt" and verified.action == "quarantine"
            if known is not None and not raised:
                return "known" if self._saved() else "not-saved"
            if verified.suspect:
                self._suspect_at = self._monotonic()
                self._hurry = True
                self._changed.notify_all()
                self._emit(kind="halt-suspect", haltId=verified.halt_id)
                return "suspect"
            halt = {
                "haltId": verified.halt_id,
                "action": verified.action,
                "epoch": verified.epoch,
                "via": via,
                "receivedAt": _iso(self._wall_clock()),
                "order": order,
            }
            others = tuple(each for each in self._memory.halts if each["haltId"] != verified.halt_id)
            self._memory = replace(
                self._memory, epoch=max(self._memory.epoch, verified.epoch), halts=(*others, halt)
            )
            self._unsaved = True
            saved = self._saved()
            self._changed.notify_all()
        self._emit(kind="halt-raised" if raised else "halt-received", haltId=verified.halt_id, action=verified.action)
        if not raised:
            self._acknowledge_in_background(verified.halt_id, "received")
        if not saved:
            self._emit(kind="halt-not-saved", haltId=verified.halt_id)
            return "not-saved"
        return "raised" if raised else "halted"

    def _saved(self) -> bool:
        """Brings what is only in memory to disk. A full disk must not keep a run going: the halt stands anyway."""
        if not self._unsaved:
            return True
        try:
            self._file.save(self._memory)
        except OSError:
            return False  # tried again at every heartbeat and every repetition of the order
        self._unsaved = False
        return True

    def _acknowledge_in_background(self, halt_id: str, state: str) -> None:
        def tell() -> None:
            try:
                self._client.acknowledge_halt(halt_id, state)
                self._emit(kind="halt-acknowledged", haltId=halt_id, state=state)
            except InterlockError as error:
                self._emit(kind="halt-not-acknowledged", haltId=halt_id, state=state, code=error.code)

        thread = threading.Thread(target=tell, name="interlock-acknowledge", daemon=True)
        self._acknowledgements.append(thread)
        thread.start()

    def _join_acknowledgements(self) -> None:
        give_up_at = self._monotonic() + _ACKNOWLEDGEMENTS_MAX_S
        for thread in list(self._acknowledgements):
            thread.join(timeout=max(0.0, give_up_at - self._monotonic()))
        self._acknowledgements = [thread for thread in self._acknowledgements if thread.is_alive()]

    # odds

    def _spend(self, asked: Optional[str] = None) -> None:
        """The step last granted was taken, unless the same is asked for again."""
        if self._granted is not None and self._granted["effectiveCompute"] != asked:
            self._progress, self._granted = self._granted, None

    def _emit(self, **event: Any) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001  a listener that fails must neither stop a heartbeat nor hide a halt
            pass


def _first_key_set(client: Any, patience_s: float) -> Any:
    """Only a run's first start needs it, when many start at once and the service may be slow to answer."""
    give_up_at = _monotonic() + patience_s
    while True:
        try:
            return client.jwks()
        except InterlockError as error:
            if not error.retryable or _monotonic() >= give_up_at:
                raise
        time.sleep(0.25)


def _progress(effective_compute: Compute, step: Optional[int]) -> Dict[str, Any]:
    progress: Dict[str, Any] = {"effectiveCompute": to_decimal(effective_compute)}
    if step is not None:
        progress["step"] = int(step)
    return progress


def _known(keys: TrustedKeys) -> Tuple[KnownKey, ...]:
    recalled = [_recall_key(key) for key in keys.remembered()]
    return tuple(key for key in recalled if key is not None)


def _quietly(work: Callable[..., Any], arguments: Tuple[Any, ...], emit: Callable[..., None], kind: str) -> None:
    """What a halt's last acts do wrong must not keep the process alive."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001
        emit(kind=kind, error=type(error).__name__)


class _Ending:
    """From the decision to end on, the process has so long: what hangs then (a hook, a rank) has not stopped."""

    def __init__(self, seconds: float, emit: Callable[..., None]) -> None:
        self._seconds, self._emit = seconds, emit
        self._timer: Optional[threading.Timer] = None

    def begin(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._overran)
            self._timer.daemon = True
            self._timer.start()

    def over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _overran(self) -> None:
        self._emit(kind="ending-overran")
        os._exit(EXIT_HALTED)


# --- all ranks together --------------------------------------------------------------------------------------

_GO, _PAUSE, _GIVE_UP, _HALT, _QUARANTINE, _FAILED = range(6)


def torch_reduce_max(group: Any = None) -> Callable[[int], int]:
    """The highest of all ranks' values, by torch.distributed. To be made on all ranks at once.

    Over gloo, on the processor: the flag neither waits for the GPU's queue nor keeps it busy. Where the default backend
    is another, a gloo group of its own is made.
    """
    torch = importlib.import_module("torch")
    distributed = importlib.import_module("torch.distributed")
    if group is None and distributed.get_backend() != "gloo":
        group = distributed.new_group(backend="gloo")

    def reduce_max(value: int) -> int:
        flag = torch.tensor([value], dtype=torch.int32)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX, group=group)
        return int(flag.item())

    return reduce_max


class DistributedGuard:
    """The guard for a run of several ranks: rank 0 holds the permit, and all ranks take the same decision at each step.

    The decision is one all-reduced flag, so that no rank goes into a step that another one does not take, and none
    waits for ever in a collective that the others have left. While rank 0 waits for a permit the ranks meet again every
    `pause_round_s`, which must be well below the process group's timeout.

    Every rank calls every method, at the same points of its loop.
    """

    def __init__(
        self,
        guard: Optional[PermitGuard],
        reduce_max: Callable[[int], int],
        *,
        on_halt: Optional[Callable[[Halted], None]] = None,
        final_checkpoint_s: float = 120.0,
        max_pause_s: Optional[float] = None,
        pause_round_s: float = 2.0,
    ) -> None:
        self._guard, self._reduce_max = guard, reduce_max
        self._on_halt, self._ending = on_halt, _Ending(final_checkpoint_s, _say_nothing)
        self._trained = False
        self._max_pause_s, self._pause_round_s = max_pause_s, pause_round_s

    @classmethod
    def open(
        cls,
        client: Any,
        run_id: str,
        state_directory: str,
        *,
        rank: int,
        reduce_max: Optional[Callable[[int], int]] = None,
        on_halt: Optional[Callable[[Halted], None]] = None,
        final_checkpoint_s: float = 120.0,
        max_pause_s: Optional[float] = None,
        pause_round_s: float = 2.0,
        **options: Any,
    ) -> "DistributedGuard":
        reduce_max = reduce_max or torch_reduce_max()
        guard: Optional[PermitGuard] = None
        failure: Optional[Exception] = None
        if rank == 0:
            try:
                guard = PermitGuard.open(
                    client, run_id, state_directory, on_halt=on_halt, final_checkpoint_s=final_checkpoint_s, **options
                )
            except Exception as error:  # noqa: BLE001  told to the others first: they would wait for us
                failure = error
        together = reduce_max(_GO if failure is None else _FAILED)
        if failure is not None:
            raise failure
        if together == _FAILED:
            raise _bad_configuration("rank 0 could not open its guard: see what it says")
        return cls(
            guard,
            reduce_max,
            on_halt=on_halt,
            final_checkpoint_s=final_checkpoint_s,
            max_pause_s=max_pause_s,
            pause_round_s=pause_round_s,
        )

    def step(self, effective_compute: Compute, step: Optional[int] = None) -> None:
        """As PermitGuard.step, at the same step on all ranks."""
        stop = self.decide(effective_compute, step)
        if stop is not None:
            self.end(stop)

    def decide(self, effective_compute: Compute, step: Optional[int] = None) -> Optional[Verdict]:
        """As PermitGuard.decide; all ranks get the same answer."""
        compute = to_decimal(effective_compute)
        guard = self._guard
        began_at = _monotonic()
        if guard is not None:
            with guard._changed:
                guard._spend(compute)
        while True:
            verdict = Verdict("go") if guard is None else guard.may_train(compute)
            agreed = self._reduce_max(self._code(verdict, _monotonic() - began_at))
            if agreed == _GO:
                self._trained = True
                if guard is not None:
                    guard.grant(compute, step)
                return None
            if agreed == _GIVE_UP:
                self.close()
                raise PauseOutlasted(verdict.reason or "rank 0 waited for a permit")
            if agreed in (_HALT, _QUARANTINE):
                self._ending.begin()
                action = "halt" if agreed == _HALT else "quarantine"
                return verdict if guard is not None else Verdict("stop", f"{action} ordered", {"action": action})
            if guard is not None:
                guard.wait(compute, timeout_s=self._pause_round_s)

    def _code(self, verdict: Verdict, waited_s: float) -> int:
        if verdict.verdict == "go":
            return _GO
        if verdict.verdict == "stop":
            return _QUARANTINE if (verdict.halt or {}).get("action") == "quarantine" else _HALT
        over = self._max_pause_s is not None and waited_s >= self._max_pause_s
        return _GIVE_UP if over else _PAUSE

    def end(self, verdict: Verdict) -> None:
        """All ranks write what they must, meet, rank 0 tells Interlock, they meet again and end. Never returns.

        They meet the second time because a launcher kills the other ranks when the first one ends.
        """

        def meet() -> None:
            self._reduce_max(_GO)

        if self._guard is not None:
            self._ending.over()  # the guard has one of its own, as long
            self._guard.end(verdict, meet)
        halted = Halted(str((verdict.halt or {}).get("action", "halt")), None, verdict.reason)
        self._ending.begin()
        if self._on_halt is not None and self._trained:
            _quietly(self._on_halt, (halted,), _say_nothing, "")
        _quietly(meet, (), _say_nothing, "")
        _quietly(meet, (), _say_nothing, "")
        self._ending.over()
        raise halted

    def checkpoint(
        self,
        checkpoint_id: str,
        effective_compute: Compute,
        model_uri: str,
        step: Optional[int] = None,
        **more: Any,
    ) -> None:
        if self._guard is not None:
            self._guard.checkpoint(checkpoint_id, effective_compute, model_uri, step, **more)

    def enter_stage(self, name: str, compute: Optional[Compute] = None) -> None:
        if self._guard is not None:
            self._guard.enter_stage(name, compute)

    def checkpoint_due(self, effective_compute: Compute) -> bool:
        """The same answer on all ranks: a sharded checkpoint is written by all of them."""
        due = self._guard is not None and self._guard.checkpoint_due(effective_compute)
        return self._reduce_max(int(due)) > 0

    def can_delete(self, checkpoint_id: str) -> bool:
        """The same answer on all ranks: what rank 0 heard."""
        keep = self._guard is not None and not self._guard.can_delete(checkpoint_id)
        return self._reduce_max(int(keep)) == 0

    @property
    def permit_guard(self) -> Optional[PermitGuard]:
        """Rank 0's, for `listen_for_halts`; None on the others."""
        return self._guard

    def close(self) -> None:
        if self._guard is not None:
            self._guard.close()

    def __enter__(self) -> "DistributedGuard":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _say_nothing(**_: Any) -> None:
    """Rank 0 tells."""


Guard = Union[PermitGuard, DistributedGuard]


def open_guard(client: Any, run_id: str, state_directory: str, **options: Any) -> Guard:
    """A DistributedGuard where torch.distributed is initialised with several ranks, else a PermitGuard."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        if distributed.get_world_size() > 1:
            return DistributedGuard.open(
                client, run_id, state_directory, rank=distributed.get_rank(), **options
            )
    return PermitGuard.open(client, run_id, state_directory, **options)


# --- halts by webhook ----------------------------------------------------------------------------------------

_HALT_BODY_LENGTH_MAX = 65_536


class HaltReceiver:
    """Listens for the halt webhook, so that a halt need not wait for the next heartbeat.

    A request counts only if its signature fits the raw body, and then only the signed order inside is obeyed. 200 after
    the halt is on disk. Losing this listener loses speed, not safety: heartbeats bring the same order.
    """

    def __init__(self, guard: PermitGuard, secrets: Sequence[Secret], host: str, port: int) -> None:
        if not secrets:
            raise _bad_configuration("a halt receiver needs at least one webhook secret")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802  the name that http.server calls
                status = receiver._answer(self)
                body = b'{"received":true}' if status == 200 else b'{"received":false}'
                self.send_response_only(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._guard, self._secrets = guard, list(secrets)
        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}/halt"
        threading.Thread(target=self._server.serve_forever, name="interlock-halts", daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler) -> int:
        length = request.headers.get("content-length") or ""
        if not re.fullmatch(r"[0-9]{1,8}", length):
            return 411
        if int(length) > _HALT_BODY_LENGTH_MAX:
            return 413
        body = request.rfile.read(int(length))
        known = [WebhookSecret(_value_of(secret)) for secret in self._secrets]
        if not verify_webhook(known, list(request.headers.items()), body, time.time()):
            return 401
        message = _parse_record(body)
        if message is not None and message.get("type") == "halt.drill":
            return 200  # it proves the way of a halt up to here, and changes nothing
        data = message.get("data") if message is not None and message.get("type") == "halt.ordered" else None
        order = data.get("order") if isinstance(data, dict) else None
        if not isinstance(order, str):
            return 400
        outcome = self._guard.receive_order(order, "webhook")
        # In force, but a restart would forget it: not answered, so that it is sent again.
        if outcome == "not-saved":
            return 503
        return 422 if outcome == "refused" else 200

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def listen_for_halts(
    guard: PermitGuard, secrets: Sequence[Secret], *, port: int, host: str = "127.0.0.1"
) -> HaltReceiver:
    return HaltReceiver(guard, secrets, host, port)


# --- Hugging Face Trainer and Lightning ----------------------------------------------------------------------


class InterlockCallback:
    """Makes the callback for a framework. Nothing of the framework is imported unless it is asked for.

        trainer.add_callback(InterlockCallback.for_hugging_face(guard, compute_at=meter.at_step))
        Trainer(callbacks=[InterlockCallback.for_lightning(guard, compute_at=meter.at_step)])

    `compute_at` gives the effective compute of the run after so many optimizer steps in all. `guard` may be a function
    that opens it: it is called at the first step, when the framework has started its ranks.
    """

    @staticmethod
    def for_hugging_face(guard: Any, *, compute_at: Callable[[int], Compute], base: Optional[type] = None) -> Any:
        base = base or _framework_base(("transformers", "TrainerCallback"))
        return type("InterlockCallback", (_HuggingFaceHooks, base), {})(guard, compute_at)

    @staticmethod
    def for_lightning(
        guard: Any,
        *,
        compute_at: Callable[[int], Compute],
        checkpoints: Optional[str] = None,
        last_checkpoint: Optional[str] = None,
        base: Optional[type] = None,
    ) -> Any:
        """`checkpoints`: a directory for those that Interlock wants and for a halt's last one, which are reported.

        Without it the program reports them itself, and `last_checkpoint` is a file for a halt's last one alone.
        """
        base = base or _framework_base(("lightning.pytorch", "Callback"), ("pytorch_lightning", "Callback"))
        return type("InterlockCallback", (_LightningHooks, base), {})(guard, compute_at, checkpoints, last_checkpoint)


def _framework_base(*candidates: Tuple[str, str]) -> type:
    for module, name in candidates:
        try:
            base = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        if isinstance(base, type):
            return base
    raise _bad_configuration(f"none of {', '.join(module for module, _ in candidates)} is installed")


class _HuggingFaceHooks:
    """Asks before every optimizer step. A halt seen after a step lets the Trainer save and end as it does by itself,
    and raises Halted at the end of `train()`; one seen before a step raises at once, for that step must not run.
    """

    def __init__(self, guard: Any, compute_at: Callable[[int], Compute]) -> None:
        super().__init__()
        self._opened, self._compute_at = guard, compute_at
        self._stop: Optional[Verdict] = None

    @property
    def _guard(self) -> Any:
        if callable(self._opened):
            self._opened = self._opened()
        return self._opened

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        # Again, although the last step's end has asked: saving and evaluating took their time since.
        step = state.global_step + 1
        self._guard.step(self._compute_at(step), step)
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        following = state.global_step + 1
        if 0 < state.max_steps < following:
            return control
        self._stop = self._guard.decide(self._compute_at(following), following)
        if self._stop is not None:
            control.should_save = True
            control.should_training_stop = True
        elif self._guard.checkpoint_due(self._compute_at(state.global_step)):
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        step = state.global_step
        path = os.path.abspath(os.path.join(args.output_dir, f"checkpoint-{step}"))
        self._guard.checkpoint(f"step-{step}", self._compute_at(step), f"file://{quote(path)}", step)
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._stop is not None:
            self._guard.end(self._stop)
        self._guard.close()
        return control


class _LightningHooks:
    """Asks before every batch. On a halt the last checkpoint is written by all ranks, where one is wanted, and Halted
    goes up through the Trainer, which tears itself down. (`trainer.should_stop` would first train to `min_steps`.)
    """

    def __init__(
        self,
        guard: Any,
        compute_at: Callable[[int], Compute],
        checkpoints: Optional[str],
        last_checkpoint: Optional[str],
    ) -> None:
        super().__init__()
        self._opened, self._compute_at = guard, compute_at
        self._checkpoints, self._last_checkpoint = checkpoints, last_checkpoint

    @property
    def _guard(self) -> Any:
        if callable(self._opened):
            self._opened = self._opened()
        return self._opened

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        # Batches that are accumulated into one step ask for the same one, which is spent once.
        step = trainer.global_step + 1
        stop = self._guard.decide(self._compute_at(step), step)
        if stop is None:
            return
        if self._checkpoints is not None and trainer.global_step > 0:
            self._save(self._checkpoints, trainer)
        elif self._last_checkpoint is not None:
            trainer.save_checkpoint(self._last_checkpoint)
        self._guard.end(stop)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._checkpoints is not None and self._guard.checkpoint_due(self._compute_at(trainer.global_step)):
            self._save(self._checkpoints, trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._guard.close()

    def _save(self, directory: str, trainer: Any) -> None:
        step = trainer.global_step
        path = os.path.abspath(os.path.join(directory, f"step-{step}.ckpt"))
        trainer.save_checkpoint(path)  # by all ranks
        self._guard.checkpoint(f"step-{step}", self._compute_at(step), f"file://{quote(path)}", step)


# --- the sidecar ---------------------------------------------------------------------------------------------

_FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


class _Group:
    """A command in a process group of its own, under a keeper that kills the group when we are gone, however that was.

    Not held: a process that leaves the group (setsid); a container or a cgroup does that.
    """

    def __init__(self, command: Sequence[str], *, hide: Sequence[str] = ()) -> None:
        """`hide`: environment variables that are not the command's."""
        environment = {name: value for name, value in os.environ.items() if name not in hide}
        theirs, self._ours = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), "keep", str(theirs), "--", *command],
                pass_fds=(theirs,),
                start_new_session=True,
                env=environment,
            )
        finally:
            os.close(theirs)

    def poll(self) -> Optional[int]:
        """The command's exit code, 128 + signal, or None while it runs."""
        code = self._keeper.poll()
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        try:
            os.killpg(self._keeper.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left of it

    def end(self, grace_s: float) -> bool:
        """SIGTERM, SIGCONT so that a suspended group hears it, SIGKILL. Whether nothing is left of the group."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if self._gone_within(grace_s):
            return True
        self.signal(signal.SIGKILL)
        return self._gone_within(10.0)

    def close(self) -> None:
        """What the command left behind would train on unwatched."""
        if _group_lives(self._keeper.pid):
            self.signal(signal.SIGKILL)
        os.close(self._ours)

    def _gone_within(self, seconds: float) -> bool:
        give_up_at = _monotonic() + seconds
        while True:
            # Reaped by `poll`; until then its number cannot be another's.
            if self.poll() is not None and not _group_lives(self._keeper.pid):
                return True
            if _monotonic() >= give_up_at:
                return False
            time.sleep(0.05)


class _Forwarding:
    """Signals that we get are the command's; those that come before it has started are kept."""

    def __init__(self) -> None:
        self.kept: List[int] = []
        self._group: Optional[_Group] = None
        for name in _FORWARDED:
            signal.signal(getattr(signal, name), self._forward)

    def to(self, group: _Group) -> None:
        self._group = group
        for number in self.kept:
            group.signal(number)

    def _forward(self, number: int, _: Any) -> None:
        if self._group is None:
            self.kept.append(number)
        else:
            self._group.signal(number)


class Sidecar:
    """Holds the permit for a command that cannot be changed.

    Without a permit its process group is suspended (SIGSTOP) and goes on with the next one; on a halt it gets SIGTERM,
    and after `grace_s` SIGKILL.
    """

    def __init__(
        self,
        guard: PermitGuard,
        compute: Callable[[float], Compute],
        *,
        grace_s: float = 30.0,
        check_period_s: float = 0.5,
        max_pause_s: Optional[float] = None,
    ) -> None:
        self._guard, self._compute = guard, compute
        self._grace_s, self._check_period_s, self._max_pause_s = grace_s, check_period_s, max_pause_s

    def run(self, command: Sequence[str]) -> int:
        """The exit code: the command's own, 128 + signal, EXIT_HALTED, or EXIT_PAUSED."""
        forwarding = _Forwarding()
        code = self._first_permit(forwarding)
        if code is not None:
            return code
        group = _Group(command, hide=("INTERLOCK_TOKEN", "INTERLOCK_WEBHOOK_SECRET"))
        try:
            forwarding.to(group)
            return self._watch(group)
        finally:
            group.close()

    def _first_permit(self, forwarding: _Forwarding) -> Optional[int]:
        began_at = _monotonic()
        while not forwarding.kept:
            verdict = self._guard.wait(self._ahead(0.0), timeout_s=self._check_period_s)
            if verdict.verdict == "go":
                return None
            if verdict.verdict == "stop":
                self._guard.acknowledge_stopped()
                return EXIT_HALTED
            if self._max_pause_s is not None and _monotonic() - began_at >= self._max_pause_s:
                self._guard.close()
                return EXIT_PAUSED
        self._guard.close()
        return 128 + forwarding.kept[0]

    def _ahead(self, ran_s: float) -> Compute:
        """What will have been spent when we have looked again: seen only then, a ceiling would be overrun by then."""
        return self._compute(ran_s + 2 * self._check_period_s)

    def _watch(self, group: _Group) -> int:
        ran_s, last = 0.0, _monotonic()
        paused_at: Optional[float] = None
        while True:
            code = group.poll()
            if code is not None:
                self._guard.close()
                return code
            now = _monotonic()
            ran_s += 0.0 if paused_at is not None else now - last
            last = now
            self._guard.report(self._compute(ran_s))
            ahead = self._ahead(ran_s)
            verdict = self._guard.may_train(ahead)
            if verdict.verdict == "stop":
                # A group of which something is left has not stopped: Interlock is not told so, and climbs its ladder.
                if group.end(self._grace_s):
                    self._guard.acknowledge_stopped()
                return EXIT_HALTED
            if verdict.verdict == "pause" and paused_at is None:
                group.signal(signal.SIGSTOP)
                paused_at = now
            elif verdict.verdict == "go" and paused_at is not None:
                group.signal(signal.SIGCONT)
                paused_at = None
            if paused_at is None:
                with self._guard._changed:
                    self._guard._changed.wait(self._check_period_s)
                continue
            self._guard.wait(ahead, timeout_s=self._check_period_s)
            if self._max_pause_s is not None and now - paused_at >= self._max_pause_s:
                group.end(self._grace_s)
                self._guard.close()
                return EXIT_PAUSED


def _group_lives(group: int) -> bool:
    """Whether the process group has a member that is not a zombie. Without /proc: any member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    for number in numbers:
        try:
            with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
                stat = file.read()
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2 :].split(" ")
        if int(fields[2]) == group and fields[0] not in ("Z", "X"):
            return True
    return False


def _keep(descriptor: int, command: Sequence[str]) -> int:
    """The keeper: runs the command in its own group, and kills the group when the sidecar's end of the pipe closes."""
    for name in _FORWARDED:
        # A handler that does nothing, not SIG_IGN, which the command would inherit.
        signal.signal(getattr(signal, name), lambda *_: None)
    try:
        child = subprocess.Popen(list(command))
    except FileNotFoundError:
        sys.stderr.write(f"interlock: {command[0]} is not there\n")
        return 127
    except OSError as error:
        sys.stderr.write(f"interlock: {command[0]} cannot be run ({type(error).__name__})\n")
        return 126

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _compute_file(path: str) -> Callable[[float], Compute]:
    """The last figure that the command wrote there; "1" while there is none. What cannot be read counts as the last."""
    last: List[str] = ["1"]

    def read(_: float) -> Compute:
        try:
            with open(path, encoding="ascii") as file:
                text = file.read(256).strip()
        except (OSError, ValueError):
            return last[0]
        if is_decimal(text):
            last[0] = text
        return last[0]

    return read


def _compute_rate(flop_per_second: str, spent: str) -> Callable[[float], Compute]:
    """An upper bound: this many FLOP in every second that the command was not suspended."""
    rate, before = _scaled(flop_per_second), _scaled(spent)
    if rate is None or before is None or not at_most("1", flop_per_second):
        raise _bad_configuration("--flop-per-second must be a decimal of at least 1, such as 4e15; --spent a decimal")
    per_second, start = _whole(rate), _whole(before)

    def spent_after(seconds: float) -> Compute:
        return max(1, start + per_second * int(seconds * 1000) // 1000)

    return spent_after


# --- command line --------------------------------------------------------------------------------------------


def _print_event(event: Dict[str, Any]) -> None:
    sys.stderr.write(f"interlock: {json.dumps(event)}\n")


def _sidecar_command(options: argparse.Namespace, command: Sequence[str]) -> int:
    compute = (
        _compute_file(options.compute_file)
        if options.compute_file is not None
        else _compute_rate(options.flop_per_second, options.spent)
    )
    client = InterlockClient.from_environment()
    guard = PermitGuard.open(
        client,
        options.run,
        options.state,
        heartbeat_interval_s=options.heartbeat,
        on_event=None if options.quiet else _print_event,
    )
    receiver = None
    if options.halt_port is not None:
        if client._webhook_secret is None:
            raise _bad_configuration("--halt-port needs INTERLOCK_WEBHOOK_SECRET or INTERLOCK_WEBHOOK_SECRET_FILE")
        receiver = listen_for_halts(guard, [client._webhook_secret], port=options.halt_port, host=options.halt_host)
        sys.stderr.write(f"interlock: halts at {receiver.url}\n")
    sidecar = Sidecar(guard, compute, grace_s=options.grace, max_pause_s=options.max_pause)
    return sidecar.run(command)


def _launch_command(options: argparse.Namespace, command: Sequence[str]) -> int:
    """For launchers that end with a code of their own (torchrun: 1) or start ranks again (NVRx): they end, with 86."""
    file = MemoryFile(options.state, options.run)
    if file.load().halts and not _was_resumed(options):
        return _halted_command(options)
    forwarding = _Forwarding()
    group = _Group(command)
    halted_at: Optional[float] = None
    try:
        forwarding.to(group)
        while True:
            code = group.poll()
            if file.load().halts:
                halted_at = halted_at or _monotonic()
                if code is not None:
                    return EXIT_HALTED
                if _monotonic() - halted_at >= options.grace:
                    group.end(5.0)
                    return EXIT_HALTED
            elif code is not None:
                return code
            else:
                halted_at = None
            time.sleep(0.2)
    finally:
        group.close()


def _was_resumed(options: argparse.Namespace) -> bool:
    """Asks Interlock for a permit, which names the halts that a resume has ended. No answer is a no."""
    if not os.environ.get("INTERLOCK_URL"):
        sys.stderr.write("interlock: a halt is in force here; set INTERLOCK_URL and a token to ask if it still is\n")
        return False
    guard = PermitGuard.open(InterlockClient.from_environment(), options.run, options.state, start=False)
    guard.beat()
    if guard.halts:
        guard.acknowledge_stopped()  # who asks is a process of the run, and does not train
        guard._shut()
        return False
    guard.close()
    return True


def _halted_command(options: argparse.Namespace) -> int:
    memory = MemoryFile(options.state, options.run).load()
    for halt in memory.halts:
        sys.stdout.write(f"{halt['action']} {halt['haltId']} received {halt['receivedAt']} by {halt['via']}\n")
    return EXIT_HALTED if memory.halts else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="interlock.py",
        description="Interlock for trainers. Address and secrets come from INTERLOCK_URL, INTERLOCK_TOKEN[_FILE], "
        "INTERLOCK_WEBHOOK_SECRET[_FILE] and INTERLOCK_CA_FILE.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sidecar = commands.add_parser(
        "sidecar",
        usage="interlock.py sidecar --run ID --state DIR (--compute-file FILE | --flop-per-second N) [...] -- CMD",
        description=f"Runs CMD under a permit. Exits with CMD's code; {EXIT_HALTED} on a halt; {EXIT_PAUSED} when "
        "--max-pause is over; 2 where it cannot begin.",
    )
    sidecar.add_argument("--run", required=True, help="the run's id, registered before")
    sidecar.add_argument("--state", required=True, help="a directory that outlives the process")
    figure = sidecar.add_mutually_exclusive_group(required=True)
    figure.add_argument("--compute-file", help="CMD writes its effective compute there, one decimal")
    figure.add_argument("--flop-per-second", help="an upper bound for what CMD computes while it runs")
    sidecar.add_argument("--spent", default="0", help="effective compute before this start, with --flop-per-second")
    sidecar.add_argument("--heartbeat", type=float, default=30.0, help="seconds between heartbeats (30)")
    sidecar.add_argument("--grace", type=float, default=30.0, help="seconds from SIGTERM to SIGKILL (30)")
    sidecar.add_argument("--max-pause", type=float, help="seconds without a permit after which CMD is ended")
    sidecar.add_argument("--halt-port", type=int, help="listen for the halt webhook on this port (0: any)")
    sidecar.add_argument("--halt-host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sidecar.add_argument("--quiet", action="store_true", help="no events on standard error")
    launch = commands.add_parser(
        "launch",
        usage="interlock.py launch --run ID --state DIR [--grace SECONDS] -- torchrun ...",
        description="Runs a launcher whose ranks hold the permit. Does not start it while a halt is in force (it asks "
        "Interlock whether the one in memory still is), ends its whole process group if it outlives a halt by --grace, "
        f"and exits with {EXIT_HALTED} on a halt, else with its code.",
    )
    launch.add_argument("--run", required=True)
    launch.add_argument("--state", required=True, help="the directory that the ranks' guard uses")
    launch.add_argument("--grace", type=float, default=180.0, help="seconds for the last checkpoint (180)")
    halted = commands.add_parser(
        "halted", description=f"Exits with {EXIT_HALTED} if a halt is in force in this memory, with 0 if none is."
    )
    halted.add_argument("--run", required=True)
    halted.add_argument("--state", required=True)
    return parser


def main(arguments: Sequence[str]) -> int:
    words = list(arguments)
    if words[:1] == ["keep"] and len(words) > 3:
        return _keep(int(words[1]), words[3:])  # the sidecar starts it; not for people
    split = words.index("--") if "--" in words else len(words)
    parser = _arguments()
    options = parser.parse_args(words[:split])
    command = words[split + 1 :]
    try:
        if options.command == "halted":
            return _halted_command(options)
        if not command:
            parser.error(f"{options.command}: the command is missing; give it after --")
        return _launch_command(options, command) if options.command == "launch" else _sidecar_command(options, command)
    except InterlockError as error:
        sys.stderr.write(f"interlock: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
