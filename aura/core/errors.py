"""Everything that can go wrong, as one tree.

AuraError                 code: stable and machine-readable; str(): one line that says what to do
 +- ConfigError           the operator's settings: AURA does not start (exit code 2)
 +- ProtocolFault         a client's message: answered with an `error` event, the session lives on
 +- ProviderError         an engine failed; `retryable` tells whether the same request may be sent again
     +- AuthFailed  QuotaExhausted  BadRequest                 never retryable
     +- RateLimited  Unavailable  TimedOut  StreamCut          retryable
"""

from __future__ import annotations


class AuraError(Exception):
    """Base of all errors that AURA raises on purpose."""

    code = "aura_error"


class ConfigError(AuraError):
    """A setting is wrong or missing; the message names the setting and the cure."""

    code = "config_error"


class ProtocolFault(AuraError):
    """A client's message cannot be obeyed.

    `code`, `param` and `event_id` are those of the Realtime protocol's `error` event: `param` is the dotted path of
    the offending field, `event_id` the client's own id of the message.
    """

    def __init__(self, code: str, message: str, *, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param, self.event_id = code, param, event_id


class ProviderError(AuraError):
    """An engine (speech to text, chat model, text to speech) failed.

    `retryable` is made false on an error of the lower row when all that could be tried was tried.
    """

    code = "provider_error"
    retryable = False

    def __init__(self, message: str, *, provider: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.provider, self.retry_after_s = provider, retry_after_s


class AuthFailed(ProviderError):
    """The key is missing, wrong or lacks a permission."""

    code = "auth_failed"


class QuotaExhausted(ProviderError):
    """The account is out of credit: waiting does not help."""

    code = "quota_exhausted"


class BadRequest(ProviderError):
    """The engine refuses this request as such (unknown model, context too long, unusable audio)."""

    code = "bad_request"


class RateLimited(ProviderError):
    """Too many requests at the moment; `retry_after_s` is the engine's own advice."""

    code = "rate_limited"
    retryable = True


class Unavailable(ProviderError):
    """Connection refused, 5xx, overloaded, or a dead worker."""

    code = "unavailable"
    retryable = True


class TimedOut(ProviderError):
    """No answer within the deadline from the settings."""

    code = "timed_out"
    retryable = True


class StreamCut(ProviderError):
    """The answer ended in the middle."""

    code = "stream_cut"
    retryable = True
