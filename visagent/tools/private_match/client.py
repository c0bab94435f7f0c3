"""The user's side: one message to each server, one answer from each, put together here and nowhere else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from visagent.errors import (
    BadMessage,
    PrivateMatchError,
    ServerUnreachable,
)
from visagent.tools.private_match.channel import Channel, connect
from visagent.tools.private_match.messages import Message, pack, unpack, write_ciphertexts
from visagent.tools.private_match.names import open_name
from visagent.tools.private_match.packed import mask_query
from visagent.tools.private_match.parties import (
    KEY_FILE,
    TERMS_FILE,
    USER,
    Terms,
    UserKey,
    read_private,
    server_role,
    write_private,
)
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.searches import ERRORS, put_together
from visagent.tools.private_match.shared import share_query
from visagent.vision.encoder import EmbeddingContract, Embeddings

QUIET_S: Final = 60.0
"""Seconds after which a server that says nothing is given up."""

Progress = Callable[[int, int], None]
"""Told how many records one server has compared, and of how many."""


class PrivateGallery:
    """Somebody else's gallery, searched without showing the face.

    Args:
        folder: The user's, from `visagent private keygen` and `publish`.
        timeout: Seconds after which a server that says nothing is given up.

    Attributes:
        terms: What the gallery was made with.
        left: Questions for which random numbers are left, after the first; the reference way needs none.

    Raises:
        PrivateKeyError: The keys are not there.
    """

    def __init__(self, folder: Path, timeout: float = QUIET_S) -> None:
        self._folder, self._timeout = folder, timeout
        self._key = read_private(folder / KEY_FILE, UserKey)
        self._public = self._key.public.key()
        self.terms = read_private(folder / TERMS_FILE, Terms)
        self.left: int | None = None

    def identify(self, embedding: Embeddings, contract: EmbeddingContract,
                 progress: Progress = lambda done, of: None) -> str | None:
        """The name of the nearest person, or None if nobody is near enough.

        Args:
            embedding: Of the face, float32 `[D]` of length 1.
            contract: Of the encoder that made it.
            progress: Told how far the servers are; only the reference way takes long.

        Raises:
            PrivateMatchError: The gallery is of another encoder, a server does not answer or refuses, dealt numbers
                are used up, or a message was altered.
        """
        if contract.id != self.terms.encoder:
            raise PrivateMatchError(f"The private gallery was made with the encoder {self.terms.model} "
                                    f"({self.terms.digest}), and this one is {contract}.")
        vector = Quantiser(self.terms.dimension, self.terms.bits)(embedding)
        identity = self.identity_of(vector, progress)
        return open_name(identity, self.terms.names) if any(identity) else None

    def identity_of(self, vector: NDArray[np.int64], progress: Progress = lambda done, of: None) -> bytes:
        """The identity of the nearest record, 16 bytes, or zeros; for whole numbers `[D]` of `Quantiser`."""
        query, way = secrets.token_bytes(16), self.terms.way
        parts = dict(zip((server_role(1), server_role(2)), self._parts(vector), strict=True))
        asked = {role: pack({
            "kind": "query", "id": query, "at": int(time.time()), "way": way, "dimension": self.terms.dimension,
            "bits": self.terms.bits, "encoder": self.terms.encoder, "generation": self.terms.generation,
            "query": part}) for role, part in parts.items()}
        answers = self._ask(asked, progress)
        generations = {answer.whole("generation", 0, 1 << 40) for answer in answers.values()}
        if len(generations) != 1:
            raise BadMessage("The two servers answered from different makings of the gallery; ask again.")
        if min(generations) < self.terms.generation:
            raise BadMessage("The servers hold an older making of the gallery than they did: whoever was forgotten "
                             "since might be named. Copy both servers' folders to their machines again.")
        self._renew(answers)
        if way != "reference":
            self.left = min(answer.whole("left", 0, 1 << 40) for answer in answers.values())
        one, other = (answers[server_role(party)].raw("part", 16) for party in (1, 2))
        return put_together(way, one, other)

    def _parts(self, vector: NDArray[np.int64]) -> tuple[bytes, bytes]:
        if self.terms.way == "shared":
            return share_query(vector)
        if self.terms.way == "packed":
            return mask_query(vector)
        encrypted = write_ciphertexts(self._public.encrypt_all(int(value) for value in vector), self._public)
        return encrypted, encrypted

    def _ask(self, asked: Mapping[str, bytes], progress: Progress) -> dict[str, Message]:
        """Both servers at once. The first failure ends both."""
        lines: dict[str, Channel] = {}
        failures: list[BaseException] = []

        def ask(role: str) -> Message:
            try:
                line = lines[role] = self._connect(role)
                if failures:
                    raise ServerUnreachable("The other server could not be reached.")
                line.send(asked[role])
                while (message := unpack(line.receive())).text("kind") == "progress":
                    progress(message.whole("done", 0, 1 << 40), message.whole("of", 0, 1 << 40))
                _raise_if_error(message, role)
                return message
            except BaseException as error:
                failures.append(error)
                for other in list(lines.values()):
                    other.close()
                raise

        with ThreadPoolExecutor(len(asked)) as pool:
            futures = {role: pool.submit(ask, role) for role in asked}
        for line in lines.values():
            line.close()
        if failures:  # the first is the cause of the second, unless that one tells more than that a line was closed
            raise min(failures, key=lambda error: isinstance(error, ServerUnreachable))
        return {role: future.result() for role, future in futures.items()}

    def _connect(self, role: str) -> Channel:
        place = self._key.servers[role]
        return connect(place.address(), USER, role, self._public.id, self._key.links[role], timeout=self._timeout,
                       tls=self._key.certificate.tls(place, server=False))

    def _renew(self, answers: Mapping[str, Message]) -> None:
        """Take up new terms (with new sealed names), if both servers say the same."""
        news = {answer.raw("terms") for answer in answers.values()}
        if news == {b""}:
            return
        if len(news) != 1:
            raise BadMessage("The two servers tell different things of the gallery; copy the user's folder again.")
        try:
            terms = Terms.model_validate_json(news.pop())
        except ValidationError:
            raise BadMessage("What the servers tell of the gallery is none of its terms; give all parties the same "
                             "version of visagent.") from None
        self.terms = terms
        write_private(self._folder / TERMS_FILE, terms)


def _raise_if_error(message: Message, role: str) -> None:
    kind = message.text("kind")
    if kind == "error":
        raise ERRORS.get(message.text("name"), PrivateMatchError)(f"{role}: {message.text('text')}")
    if kind != "answer":
        raise BadMessage(f"{role} sent something that is no answer.")
