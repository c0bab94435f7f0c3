"""One of the two servers: a process that holds half of a key and its part of a gallery, and answers users.

Server 1 begins each query by calling server 2, which waits until the user's message has reached it too. In the
reference way each calls the other, so that both lead at once. Every wait ends: by an answer, by an error that the user
is told, or by a limit.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from visagent.errors import BadMessage, PrivateMatchError, RandomnessSpent, ServerUnreachable, VisagentError
from visagent.tools.private_match.channel import Channel, accept, connect, listen
from visagent.tools.private_match.holdings import Holdings, load_holdings
from visagent.tools.private_match.ledger import Ledger
from visagent.tools.private_match.meetings import Meeting, Meetings
from visagent.tools.private_match.messages import Message, pack, unpack
from visagent.tools.private_match.parties import KEY_FILE, USER, Place, ServerKey, read_private
from visagent.tools.private_match.records import stamp_of
from visagent.tools.private_match.searches import (
    ERRORS,
    LeadingLine,
    help_along,
    lead,
    query_bytes,
    search_with_shares,
)
from visagent.tools.private_match.workers import Workers

_LOG = logging.getLogger(__name__)
LEDGER_FILE: Final = "ledger.sqlite"
QUERY_ID_BYTES: Final = 16
CLOCKS_APART_S: Final = 300
"""A query is refused if its time and the server's differ by more; its id is remembered for twice as long."""
MEET_S: Final = 20.0
"""Seconds in which the user's message must reach the other server too."""
STEP_S: Final = 60.0
"""Seconds in which the other server must take its next step."""
WHOLE_S: Final = 7200.0
"""Seconds that a whole query may take; only the reference way takes more than a few."""


STOPPING: Final = "The server is stopping; ask again when it runs."
OTHER_WAY: Final = "The other server searches in another way; give both servers what was published together."
MOST_CONNECTIONS: Final = 256
"""Connections held at once; a further caller waits until one ends. One that proves nothing ends after 5 s."""


class Server:
    """A server, listening from the moment it is made.

    Args:
        folder: With its key and its records.
        cores: To work on.

    Raises:
        PrivateKeyError: The key is not there.
        DamagedRecord: The records are not there, or not what was sealed.
        ServerUnreachable: The place where it should listen is taken.
    """

    def __init__(self, folder: Path, cores: int = 1) -> None:
        self._folder = folder
        self._key = read_private(folder / KEY_FILE, ServerKey)
        self._share = self._key.share()
        self._public = self._share.public
        self._holdings = load_holdings(folder, self._key, self._share)
        self._loading = threading.Lock()
        self._ledger = Ledger(folder / LEDGER_FILE)
        self._workers = Workers(cores)
        self._meetings = Meetings()
        self._closing = threading.Event()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._tls = self._key.certificate.tls(self._key.here, server=True)
        self._listener = listen(self._key.here.address(), self._tls)

    @property
    def role(self) -> str:
        """Its name."""
        return self._key.role

    @property
    def place(self) -> Place:
        """Where it listens."""
        return self._key.here

    @property
    def holdings(self) -> Holdings:
        """The newest gallery in its folder. Raises DamagedRecord."""
        with self._loading:
            if stamp_of(self._folder) != self._holdings.records.stamp:
                self._holdings = load_holdings(self._folder, self._key, self._share)
            return self._holdings

    def serve(self) -> None:
        """Answer until `close` is called."""
        while not self._closing.is_set():
            if not self._room.acquire(timeout=0.5):
                continue
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, a caller gave up before it was taken, or no file is free for a moment
                self._room.release()
                self._closing.wait(0.05)
                continue
            threading.Thread(target=self._answer, args=(connection,), name="query", daemon=True).start()

    def close(self) -> None:
        """Stop listening; queries that are being answered end with an error."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who waits for a caller
        self._listener.close()
        self._workers.close()
        self._ledger.close()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with accept(connection, self._key.links, self.role, self._public.id, timeout=STEP_S,
                        tls=self._tls) as line:
                try:
                    message = unpack(line.receive())
                    self._handle(line, message)
                except VisagentError as error:
                    line.send(pack({"kind": "error", "name": type(error).__name__, "text": str(error)}))
                except Exception:
                    stopping = self._closing.is_set()  # its workers are gone then
                    if not stopping:
                        _LOG.exception("A query failed.")
                    line.send(pack({"kind": "error", "name": "ServerUnreachable",
                                    "text": STOPPING if stopping else "The server failed; look into its log."}))
        except VisagentError as error:
            _LOG.info("A connection ended: %s", error)
        finally:
            self._room.release()

    def _handle(self, line: Channel, message: Message) -> None:
        kind = message.text("kind")
        wanted = {"query": USER, "join": self._key.peer_role, "help": self._key.peer_role}
        if wanted.get(kind) != line.peer:
            raise BadMessage(f"A message of this kind is not for {line.peer} to send.")
        query = message.raw("id", QUERY_ID_BYTES)
        # Before the meeting: a query that was sent again must not disturb the first one.
        asked = self._checked(message, query) if kind == "query" else None
        meeting = self._meetings.enter(query)
        try:
            if asked is not None:
                self._for_user(line, message, query, meeting, *asked)
            elif kind == "join":
                self._join(line, message, meeting)
            else:
                self._help(line, meeting)
        except VisagentError as error:
            meeting.fail(error)
            raise
        except BaseException:
            meeting.fail(ServerUnreachable("The server failed; look into its log."))
            raise
        finally:
            self._meetings.leave(query)

    def _checked(self, message: Message, query: bytes) -> tuple[Holdings, bytes]:
        """What to search, and what the user sent for it. Raises BadMessage, DamagedRecord."""
        holdings = self.holdings
        terms = holdings.terms
        if message.text("way") != terms.way or message.whole("dimension", 0, 4096) != terms.dimension \
                or message.whole("bits", 0, 64) != terms.bits or message.text("encoder") != terms.encoder:
            raise BadMessage("The gallery was made anew in another way, or for another encoder; copy the user's "
                             "folder again.")
        message.whole("generation", 0, 1 << 40)
        part = message.raw("query", query_bytes(holdings, self._share.party, self._public))
        now = datetime.now(UTC)
        if abs(message.whole("at", 0, 1 << 40) - now.timestamp()) > CLOCKS_APART_S:
            raise BadMessage("The query is old, or the clocks of this machine and the server differ by over "
                             f"{CLOCKS_APART_S // 60} minutes; set them and ask again.")
        if not self._ledger.first_time(query, now, 2 * CLOCKS_APART_S):
            raise BadMessage("This query was sent before; ask anew.")
        return holdings, part

    def _for_user(self, line: Channel, message: Message, query: bytes, meeting: Meeting, holdings: Holdings,
                  part: bytes) -> None:
        """Search, and send this server's part of the answer."""
        terms = holdings.terms

        def arrived(there: Meeting) -> None:
            there.holdings, there.query = holdings, part

        def still(done: int = 0) -> None:
            line.send(pack({"kind": "progress", "done": done, "of": terms.records}))

        meeting.tell(arrived)
        if terms.way == "reference":
            self._lead(query, meeting, holdings, still)
        elif self._share.party == 1:
            self._begin(query, meeting, holdings)
        else:  # a question that only this server was asked must not hold a place for long
            meeting.wait(lambda there: there.met, MEET_S, still)
        meeting.wait(lambda there: there.result is not None, WHOLE_S, still)
        book = terms.model_dump_json().encode() if message.whole("generation", 0, 1 << 40) < terms.generation else b""
        pool = holdings.records.pool
        left = 0 if terms.way == "reference" else max(0, pool.queries - self._ledger.next_of(pool.id))
        line.send(pack({"kind": "answer", "part": meeting.result, "generation": terms.generation, "terms": book,
                        "left": left}))

    def _begin(self, query: bytes, meeting: Meeting, holdings: Holdings) -> None:
        """Server 1's part of the shared and the packed way."""
        pool = holdings.records.pool
        with self._call() as line:
            line.send(pack({"kind": "join", "id": query, "generation": holdings.terms.generation, "pool": pool.id,
                            "next": self._ledger.next_of(pool.id)}))
            answer = unpack(line.receive())
            _raise_if_error(answer)
            index = answer.whole("index", 0, 1 << 40)
            _require_dealt(index, pool.queries)
            self._ledger.take(pool.id, index)
            result = search_with_shares(holdings, meeting.query, index, self._share, line, self._workers)
        meeting.tell(lambda there: setattr(there, "result", result))

    def _join(self, line: Channel, message: Message, meeting: Meeting) -> None:
        """Server 2's."""
        meeting.tell(lambda there: setattr(there, "met", True))
        meeting.wait(lambda there: there.holdings is not None, MEET_S)
        holdings = meeting.holdings
        assert holdings is not None
        if holdings.terms.way == "reference":
            raise BadMessage(OTHER_WAY)
        pool = holdings.records.pool
        if message.text("pool") != pool.id or message.whole("generation", 0, 1 << 40) != holdings.terms.generation:
            raise BadMessage("The two servers hold different makings of the gallery; copy both folders to their "
                             "machines again.")
        at_least = message.whole("next", 0, 1 << 40)
        _require_dealt(max(at_least, self._ledger.next_of(pool.id)), pool.queries)
        index = self._ledger.take_next(pool.id, at_least)
        _require_dealt(index, pool.queries)
        line.send(pack({"kind": "joined", "index": index}))
        result = search_with_shares(holdings, meeting.query, index, self._share, line, self._workers)
        meeting.tell(lambda there: setattr(there, "result", result))

    def _lead(self, query: bytes, meeting: Meeting, holdings: Holdings, still: Callable[[int], None]) -> None:
        """Lead this server's half in the reference way; server 1 also ends the query."""
        with self._call() as line:
            line.send(pack({"kind": "help", "id": query}))
            ask = LeadingLine(line, self._public)
            leader, nearest = lead(holdings, meeting.query, self._share, ask, self._workers.threads, still)
            own = [] if nearest is None else [self._public.add(value, self._public.mask())
                                              for value in (nearest.distance, nearest.identity)]
            if self._share.party == 2:
                ask.tell("half", 0, own)
            else:
                meeting.wait(lambda there: there.half is not None, WHOLE_S, lambda: still(holdings.terms.records))
                mine, sent = leader.end(own, meeting.half or [], holdings.terms.threshold)
                ask.tell("deliver", 0, sent)
                meeting.tell(lambda there: setattr(there, "result", mine))
            ask.tell("done", 0, [])

    def _help(self, line: Channel, meeting: Meeting) -> None:
        """Help the other server to lead its half."""
        meeting.wait(lambda there: there.holdings is not None, MEET_S)
        assert meeting.holdings is not None
        if meeting.holdings.terms.way != "reference":
            raise BadMessage(OTHER_WAY)
        help_along(meeting.holdings, self._share, line, self._workers.threads,
                   lambda half: meeting.tell(lambda there: setattr(there, "half", half)),
                   lambda part: meeting.tell(lambda there: setattr(there, "result", part)))

    def _call(self) -> Channel:
        role = self._key.peer_role
        return connect(self._key.peer.address(), self.role, role, self._public.id, self._key.links[role],
                       timeout=STEP_S, tls=self._key.certificate.tls(self._key.peer, server=False))


def _require_dealt(index: int, queries: int) -> None:
    if index >= queries:
        raise RandomnessSpent("The random numbers dealt for queries are used up. Deal new ones with `visagent private "
                              "publish`.")


def _raise_if_error(message: Message) -> None:
    """What the other server could not do, the user must be told as it said it."""
    if message.text("kind") == "error":
        raise ERRORS.get(message.text("name"), PrivateMatchError)(message.text("text"))
