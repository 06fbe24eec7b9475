"""The Signal Lab's questions: one at a time for each visitor, the newest first. Torch-free.

A visitor turns a dial faster than a model answers. So a question that has not begun gives way to
the next one of the same visitor; one that a worker has begun is finished and kept. The same
question is computed once, whoever asks. What was made of the demo corpus is kept on disk; what was
made of an upload stays in this process's memory, and goes with the upload.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from insidessl_dash.core import dials
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import (
    Cancelled,
    ConfigError,
    InsideSSLError,
    NotFoundError,
    StorageError,
)
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.types import Utterance, stable_hash
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.engine.at_hand import at_hand
from insidessl_dash.engine.lab_flight import Flight, corpus_clip, own_clip
from insidessl_dash.engine.lab_kept import Kept
from insidessl_dash.engine.lab_spec import (
    LabAnswer,
    LabOutcome,
    LabQuestion,
    LabTicket,
    Sound,
)
from insidessl_dash.engine.plan import fingerprint
from insidessl_dash.engine.run import Executor
from insidessl_dash.engine.spec import EncoderInfo
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.store import Store

log = logging.getLogger(__name__)
_AT_ONCE = 4
_MOST_TICKETS = 50
"""Of one visitor; older ones are forgotten, and what they found stays."""
_MOST_OWNERS = 500
_GONE = "What was found is kept no longer: ask again, and it is made again."


class Lab:
    """Answers questions for owners.

    Args:
        store: Its live cache keeps what was made of the demo corpus.
        executor: Called for the executor when there is something to compute.
        registry: The only source of models.
        uploads: The only source of a visitor's audio.
        corpus: Opens the demo corpus; raises NotFoundError where it is not here.
    """

    def __init__(
        self,
        store: Store,
        executor: Callable[[], Executor],
        registry: Registry,
        uploads: Uploads,
        corpus: Callable[[], Corpus],
    ) -> None:
        self._executor, self._registry = executor, registry
        self._uploads, self._corpus = uploads, corpus
        self._kept = Kept(store)
        self._lock = threading.RLock()
        self._flights: OrderedDict[str, OrderedDict[str, Flight]] = OrderedDict()
        self._waiting: dict[str, Flight] = {}
        self._current: dict[str, Flight] = {}
        self._serving: set[str] = set()
        self._computing: dict[str, threading.Event] = {}
        self._known: dict[tuple[str, Any], EncoderInfo] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, "lab")

    # -- what can be asked ----------------------------------------------------------------------

    def models(self) -> list[ModelCard]:
        """Models whose weights are on this machine: the shipped ones first, in catalogue order."""
        found = [card for card in self._registry.cards() if at_hand(card, self._registry)]
        return sorted(found, key=lambda card: not card.source.startswith("shipped:"))

    def clips(self) -> list[Utterance]:
        """Utterances of the demo corpus; none where it is not here."""
        try:
            return list(self._corpus().utterances)
        except InsideSSLError as error:
            log.warning("%s", error)
            return []

    # -- asking ---------------------------------------------------------------------------------

    def ask(self, question: LabQuestion, owner: str) -> LabTicket:
        """Accept a question; one that was answered before is answered at once.

        Raises:
            ConfigError: No such perturbation, a strength outside its range, or a model whose
                weights are not on this machine.
            UnknownModelError, NotFoundError: A model or a clip that is not there.
        """
        dial = dials.find(question.perturbation)
        names = tuple(dict.fromkeys(question.models))
        taken = {"strength": dial.taken(question.strength), "models": names}
        question = question.model_copy(update=taken)
        cards = [self._at_hand(name) for name in names]
        if question.upload is not None:
            clip = own_clip(self._uploads, owner, question.upload)
        else:
            clip = corpus_clip(self._corpus(), str(question.utterance))
        flight = Flight(LabTicket(id=secrets.token_hex(8), question=question), owner, clip, cards)
        answer = self._found(flight)
        with self._lock:
            before = [one for where in (self._current, self._waiting) if (one := where.get(owner))]
            if answer is None:
                for other in before:
                    if other.ticket.question == question and other.pending:
                        return other.ticket.model_copy()
            for other in before:
                self._overtake(other)
            self._remember(flight)
            if answer is not None:
                flight.ticket.state = "done"
                return flight.ticket.model_copy(update={"answer": answer})
            self._waiting[owner] = flight
            if owner not in self._serving:
                self._serving.add(owner)
                self._pool.submit(self._serve, owner)
        return flight.ticket.model_copy()

    def get(self, ticket_id: str, owner: str) -> LabTicket:
        """A question as it stands, with its answer once there is one.

        Raises:
            NotFoundError: No such question of this owner, its upload is gone, or its answer is
                kept no longer.
        """
        flight = self._own(ticket_id, owner)
        if flight.ticket.state != "done":
            return flight.ticket.model_copy()
        answer = self._found(flight)
        if answer is None:
            raise NotFoundError(_GONE)
        return flight.ticket.model_copy(update={"answer": answer})

    def sound(self, ticket_id: str, owner: str, which: Sound) -> tuple[bytes, bool]:
        """A sound of an answered question, as 16-bit WAV, and whether it is a visitor's own.

        Raises:
            NotFoundError: No such question of this owner, not answered, or kept no longer.
        """
        flight = self._own(ticket_id, owner)
        sounds = self._kept.sounds(flight.sound_key, private=flight.clip.private)
        if flight.ticket.state != "done" or sounds is None:
            raise NotFoundError(_GONE)
        found = sounds.original if which == "original" else sounds.perturbed
        return found, flight.clip.private

    def forget(self, owner: str, uploads: set[str] | None = None) -> None:
        """Drop what was made of an owner's uploads: of all, or of those named."""
        with self._lock:
            mine = self._flights.get(owner, OrderedDict())
            for id, flight in list(mine.items()):
                upload = flight.ticket.question.upload
                if upload is not None and (uploads is None or upload in uploads):
                    flight.overtaken = flight.forgotten = True
                    self._kept.drop([flight.sound_key, *flight.keys])
                    del mine[id]

    def close(self) -> None:
        """Stop taking work."""
        with self._lock:
            for flight in [*self._waiting.values(), *self._current.values()]:
                self._overtake(flight)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- inside ---------------------------------------------------------------------------------

    def _at_hand(self, name: str) -> ModelCard:
        card = self._registry.get(name)
        if not at_hand(card, self._registry):
            raise ConfigError(
                f"The weights of {card.title} are not on this machine, and nothing is fetched "
                "while somebody turns a dial. Run `insidessl-dash analyze demo --model "
                f"{name}` once; then it is here."
            )
        return card

    def _remember(self, flight: Flight) -> None:
        mine = self._flights.setdefault(flight.owner, OrderedDict())
        self._flights.move_to_end(flight.owner)
        mine[flight.ticket.id] = flight
        while len(mine) > _MOST_TICKETS:
            mine.popitem(last=False)
        while len(self._flights) > _MOST_OWNERS:
            self._flights.popitem(last=False)

    def _overtake(self, flight: Flight) -> None:
        flight.overtaken = True
        if self._waiting.get(flight.owner) is flight:
            del self._waiting[flight.owner]
            flight.ticket.state = "superseded"

    def _own(self, ticket_id: str, owner: str) -> Flight:
        with self._lock:
            mine = self._flights.get(owner)
            flight = mine.get(ticket_id) if mine else None
        if flight is None:
            raise NotFoundError(f"No question {ticket_id[:64]!r} of yours. It may have expired.")
        if flight.ticket.question.upload is not None:
            self._uploads.get(owner, flight.ticket.question.upload)
        return flight

    def _serve(self, owner: str) -> None:
        """Answer what an owner asks until nothing is waiting."""
        while True:
            with self._lock:
                self._current.pop(owner, None)
                flight = self._waiting.pop(owner, None)
                if flight is None:
                    self._serving.discard(owner)
                    return
                self._current[owner] = flight
            ticket = flight.ticket
            try:
                self._compute(flight)
                ticket.state = "done"
            except Cancelled:
                ticket.state = "superseded"
            except InsideSSLError as error:
                ticket.error, ticket.state = str(error), "failed"
            except Exception:
                log.exception("Question %s failed", ticket.id)
                ticket.error = (
                    "An unexpected error stopped this comparison; the server's log has it as "
                    f"{ticket.id}."
                )
                ticket.state = "failed"

    def _compute(self, flight: Flight) -> None:
        """See to it that all of an answer is kept."""
        executor, place = self._executor(), flight.sound_key
        for card in flight.cards:
            flight.check()
            identity = self._identity(card)
            if identity not in self._known:
                info, _lenses = executor.describe(card.model_dump(mode="json"), [])
                self._known[identity] = info
        self._take_turn(place, flight)
        try:
            keys = self._keys(flight)
            lacking = {
                key: card
                for key, card in zip(keys, flight.cards, strict=True)
                if self._kept.result(key, private=flight.clip.private) is None
            }
            if self._found(flight) is None:
                task = flight.task(list(lacking.values()))
                outcome = executor.lab(task, flight.begin, flight.check)
                self._keep(flight, list(lacking), outcome)
        finally:
            with self._lock:
                self._computing.pop(place).set()

    def _take_turn(self, place: str, flight: Flight) -> None:
        """Wait while somebody else computes the same clip at the same strength."""
        while True:
            flight.check()
            with self._lock:
                other = self._computing.get(place)
                if other is None:
                    self._computing[place] = threading.Event()
                    return
            other.wait(0.05)

    def _keep(self, flight: Flight, keys: list[str], outcome: LabOutcome) -> None:
        private = flight.clip.private
        with self._lock:
            if flight.forgotten:
                raise Cancelled("The upload was deleted.")
            for key, result in zip(keys, outcome.results, strict=True):
                self._kept.keep_result(result.model_copy(update={"key": key}), private=private)
            self._kept.keep_sounds(flight.sound_key, outcome.sounds, private=private)
        if self._found(flight) is None:
            raise StorageError("The answer could not be kept. Ask again.")

    def _found(self, flight: Flight) -> LabAnswer | None:
        """What is kept of a question; None unless all of it is."""
        keys, private = self._keys(flight), flight.clip.private
        results = [found for key in keys if (found := self._kept.result(key, private=private))]
        if not keys or len(results) < len(keys):
            return None
        sounds = self._kept.sounds(flight.sound_key, private=private)
        return None if sounds is None else flight.answer(results, sounds)

    def _identity(self, card: ModelCard) -> tuple[str, Any]:
        raw = card.model_dump(mode="json")
        return stable_hash(raw), fingerprint(raw, self._registry.precomputed)

    def _keys(self, flight: Flight) -> list[str]:
        """One a model; none while a model has not said what it is."""
        infos = [self._known.get(self._identity(card)) for card in flight.cards]
        if None in infos:
            return []
        pairs = zip(flight.cards, infos, strict=True)
        flight.keys = [flight.result_key(card, info) for card, info in pairs if info]
        return flight.keys
