"""Whether a vendor's WebSocket really comes from the vendor.

Twilio signs the address (HMAC-SHA1, base64, header X-Twilio-Signature). Plivo signs address and nonce (HMAC-SHA256,
X-Plivo-Signature-V3 and -V3-Nonce). Telnyx signs nothing, but sends the `stream_auth_token` of the dial command as
x-telnyx-streaming-auth-token. A refusal is HTTP 403: the vendor's console shows it as a failed handshake.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import structlog

from aura.core.secret import Secret

from .handshake import Refusal, Request, is_loopback
from .phone_settings import PhoneSettings

log = structlog.get_logger()

Vendor = Literal["twilio", "telnyx", "plivo"]
VENDORS: dict[str, Vendor] = {"/v1/twilio": "twilio", "/v1/telnyx": "telnyx", "/v1/plivo": "plivo"}
"""The paths of phone calls."""
NEEDED = {
    "twilio": "phone.twilio_auth_token",
    "telnyx": "phone.telnyx_stream_token",
    "plivo": "phone.plivo_auth_token",
}
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
"""A proxy on this machine says with these that the caller is elsewhere."""


def vendor_of(path: str) -> Vendor | None:
    """The vendor that calls this path; None for every other path."""
    return VENDORS.get(path.rstrip("/"))


def check_call(request: Request, settings: PhoneSettings, opens: Callable[[str], bool] = lambda _: False) -> None:
    """Let a vendor's call in, or raise `Refusal`. `opens` tells whether an API key (`?key=`) is good for calls."""
    vendor = vendor_of(request.path)
    if not vendor:
        return
    key = request.query.get("key", "")
    if key and opens(key):
        return
    secret = {
        "twilio": settings.twilio_auth_token,
        "telnyx": settings.telnyx_stream_token,
        "plivo": settings.plivo_auth_token,
    }[vendor]
    if not secret:
        if is_loopback(request.remote) and not any(name in request.headers for name in FORWARDED):
            return
        log.warning("phone.refused", vendor=vendor, why=f"set {NEEDED[vendor]}, so that only {vendor} can call")
        raise Refusal(403, "phone_not_set_up", f"set {NEEDED[vendor]}: without it only this machine may call")
    if not {"twilio": _twilio, "telnyx": _telnyx, "plivo": _plivo}[vendor](request, settings, secret):
        hint = f"{NEEDED[vendor]} or phone.public_url is not what {vendor} has"
        log.warning("phone.refused", vendor=vendor, why=f"the signature is wrong: {hint}")
        raise Refusal(403, "bad_signature", f"this call is not signed by {vendor}, or {hint}")


def _one_of(given: Iterable[str], expected: Sequence[str]) -> bool:
    """Whether a given text is one of the expected; it takes the same time whichever it is."""
    found = False
    for text in given:
        for other in expected:
            found |= hmac.compare_digest(text.strip().encode(), other.encode())
    return found


def _digest(secret: Secret, kind: str, signed: str) -> str:
    return base64.b64encode(hmac.digest(secret.reveal().encode(), signed.encode(), kind)).decode()


def _addresses(request: Request, settings: PhoneSettings) -> Iterator[str]:
    """What the vendor may have signed: its configured address, which a proxy and its own normalising may have changed.

    Whoever can sign one of these has the secret, so trying several gives nothing away.
    """
    public = urlsplit(settings.public_url if "//" in settings.public_url else f"//{settings.public_url}")
    host = public.netloc or request.headers.get("host", "")
    path, mark, query = request.target.partition("?")
    prefix = public.path.rstrip("/")
    for scheme in ("wss", "https", "ws", "http"):
        for end in ("", "/") if not path.endswith("/") else ("",):
            yield f"{scheme}://{host}{prefix}{path}{end}{mark}{query}"


def _twilio(request: Request, settings: PhoneSettings, secret: Secret) -> bool:
    given = request.headers.get("x-twilio-signature", "")
    return _one_of([given], [_digest(secret, "sha1", url) for url in _addresses(request, settings)])


def _telnyx(request: Request, _: PhoneSettings, secret: Secret) -> bool:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    given = (request.headers.get("x-telnyx-streaming-auth-token", ""), request.query.get("key", ""), bearer)
    return _one_of(given, [secret.reveal()])


def _plivo(request: Request, settings: PhoneSettings, secret: Secret) -> bool:
    nonce = request.headers.get("x-plivo-signature-v3-nonce", "")
    given = request.headers.get("x-plivo-signature-v3", "").split(",")  # one for each auth token of the account
    signed = [f"{_sorted_query(url)}.{nonce}" for url in _addresses(request, settings)]
    return bool(nonce) and _one_of(given, [_digest(secret, "sha256", text) for text in signed])


def _sorted_query(url: str) -> str:
    """The address with its query decoded and in the order of the names, as Plivo's SDKs sign it."""
    base, mark, query = url.partition("?")
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return base + mark + "&".join(f"{name}={value}" for name, value in pairs) if pairs else base
