"""On whose behalf a client is here."""

from __future__ import annotations

from typing import Any

import msgspec

from aura.storage.keys import USUAL_SCOPES, Key, Scope


class Principal(msgspec.Struct, frozen=True):
    """What a client may do. The default is anybody, where no key is needed."""

    key_id: str = ""
    """The id of the key, for logs; empty: no key was needed."""
    tenant: str = ""
    """Whose conversations these are; empty: the client may say so itself."""
    scopes: tuple[Scope, ...] = USUAL_SCOPES
    models: tuple[str, ...] = ()
    """Models that may be asked for; none: any."""
    conversations_max: int = 0
    """Conversations of the key at one time; 0: as many as the server takes."""
    session: dict[str, Any] | None = None
    """The session's beginning as the maker of a client secret wants it: a checked `session.update`."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody knows who this is."""
        return not self.key_id

    def may_use(self, model: str) -> bool:
        """Whether this model may be asked for."""
        return not self.models or model in self.models


ANYBODY = Principal()


def principal_of(key: Key) -> Principal:
    """What the bearer of a key may do."""
    return Principal(key.id, key.tenant, key.scopes, key.models, key.conversations_max)
