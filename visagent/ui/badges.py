"""The id of a browser: given once by this process, in a cookie, and believed only if this process gave it."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

COOKIE: Final = "visagent_visitor"
_NAMED = re.compile(rf"(?:^|;)\s*{COOKIE}=([A-Za-z0-9_-]{{43}})\.([0-9a-f]{{64}})\s*(?=;|$)")


class Badges:
    """Gives ids and reads them. The seal's key lives as long as the process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def give(self, *, secure: bool) -> str:
        """A `Set-Cookie` header with a new id, which no script can read and no other site's form can use.

        Args:
            secure: Whether the page is served by TLS.
        """
        badge = secrets.token_urlsafe(32)
        return (f"{COOKIE}={badge}.{self._seal(badge)}; Path=/; HttpOnly; SameSite=Lax"
                f"{'; Secure' if secure else ''}")

    def read(self, cookie: str) -> str | None:
        """The id in a `Cookie` header; None if there is none, or none that this process gave."""
        for badge, seal in _NAMED.findall(cookie):
            if hmac.compare_digest(seal, self._seal(badge)):
                return str(badge)
        return None

    def _seal(self, badge: str) -> str:
        return hmac.new(self._key, badge.encode(), "sha256").hexdigest()
