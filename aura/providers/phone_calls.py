"""The phone vendors' REST APIs, as far as AURA needs them: ending a call."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec
import structlog
import trio

from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.providers.http import Http

log = structlog.get_logger()

GONE = (404, 409, 422)
"""Answers of the vendors when the call is over already."""


class Account(msgspec.Struct, frozen=True):
    """Where one vendor's API is and how it knows us; without a secret calls cannot be ended."""

    url: str
    name: str
    secret: Secret


class PhoneCalls:
    """Ends calls."""

    def __init__(self, http: Http, timeout_s: float) -> None:
        self._http, self._timeout_s = http, timeout_s

    async def end(self, vendor: Literal["twilio", "telnyx", "plivo"], account: Account, call_id: str) -> bool:
        """End a call; whether it has ended. Takes no longer than the time limit and raises nothing but Cancelled."""
        call, name, secret = quote(call_id, safe=""), quote(account.name, safe=""), account.secret.reveal()
        if not secret or not call or (vendor != "telnyx" and not name):
            return False
        import httpx  # not before a call is to be ended: it takes 70 ms to load

        try:
            client = self._http.endpoint(account.url).client
            with trio.fail_after(self._timeout_s):
                if vendor == "twilio":
                    path, form = f"/2010-04-01/Accounts/{name}/Calls/{call}.json", {"Status": "completed"}
                    answer = await client.post(path, data=form, auth=(account.name, secret))
                elif vendor == "telnyx":
                    bearer = {"Authorization": f"Bearer {secret}"}
                    answer = await client.post(f"/v2/calls/{call}/actions/hangup", json={}, headers=bearer)
                else:
                    answer = await client.delete(f"/v1/Account/{name}/Call/{call}/", auth=(account.name, secret))
        except (httpx.HTTPError, trio.TooSlowError, OSError, ConfigError) as error:
            why = str(error) if isinstance(error, ConfigError) else type(error).__name__
            log.warning("phone.not_hung_up", vendor=vendor, call=call_id, why=why)
            return False
        if answer.is_success or answer.status_code in GONE:
            return True
        cure = "check the keys in [phone]" if answer.status_code in (401, 403) else "the call may go on in silence"
        log.warning("phone.not_hung_up", vendor=vendor, call=call_id, why=f"HTTP {answer.status_code}: {cure}")
        return False
