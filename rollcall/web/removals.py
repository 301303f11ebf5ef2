"""Looks for everything about a person in the background, and removes it.

A bucket may hold a hundred thousand results, so both take minutes. The state is in this process: a
page that is loaded again shows it. If the process ends, the person is still on the pages, and the
removal can be started again, because every step can be repeated.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from rollcall.core.errors import PermanentError, RollcallError
from rollcall.core.forgotten_documents import message_without
from rollcall.core.names import checked_name
from rollcall.core.web_protocols import ChangeLog
from rollcall.gallery.forgetting import Mention
from rollcall.web.gallery_cache import GalleryCache

log = logging.getLogger(__name__)

MAX_SHOWN = 200
"""Mentions that are listed. All are counted."""

MAX_KEPT = 20
"""Finished removals that can still be looked at."""


class Forgetting(Protocol):
    """Finds and removes everything about a person, in all stores."""

    def mentions(self, name: str, dry_run: bool) -> Iterator[Mention]:
        """Yield each place that mentions the person; without `dry_run`, after its removal."""
        ...

    def unreached(self) -> list[str]:
        """Sentences about places that are not searched."""
        ...

    @property
    def repeat_after_s(self) -> float:
        """How long functions may still write the name. Then everything is removed again."""
        ...


@dataclass(slots=True)
class Removal:
    """One search, or one removal. Only its own thread changes it, and pages get copies."""

    id: str
    name: str
    """Empty once the person is removed."""
    dry_run: bool
    who: str
    counts: Counter[str] = field(default_factory=Counter)
    """Entries by kind."""
    places: Counter[str] = field(default_factory=Counter)
    """Objects, tables and files by kind."""
    shown: list[Mention] = field(default_factory=list)
    problems: list[Mention] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    error: str = ""
    done: bool = False
    repeated: str = ""
    """What became of the second removal, in sentences; empty until then."""

    @property
    def found(self) -> int:
        return sum(self.places.values())

    def copy(self) -> Removal:
        return replace(
            self,
            counts=Counter(self.counts),
            places=Counter(self.places),
            shown=[*self.shown],
            problems=[*self.problems],
        )

    def add(self, mention: Mention) -> None:
        if mention.problem:
            if len(self.problems) < MAX_SHOWN:
                self.problems.append(mention)
            return
        self.counts[mention.counted_as] += mention.count
        self.places[mention.counted_as] += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(mention)


class Removals:
    """The removals of this process. Safe to share between threads."""

    def __init__(self, forgetting: Forgetting, changes: ChangeLog, known: GalleryCache) -> None:
        self._forgetting = forgetting
        self._changes = changes
        self._known = known
        self._lock = threading.Lock()
        self._removals: dict[str, Removal] = {}

    def start(self, name: str, who: str, *, dry_run: bool) -> Removal:
        """Start in the background; return the one that runs already, if there is one.

        Raises NameRefused.
        """
        name = checked_name(name)
        with self._lock:
            running = self._running(name, dry_run)
            if running is not None:
                return running
            if any(not each.done for each in self._removals.values() if each.name != name):
                raise PermanentError(
                    "another person is being searched for or removed; wait until that has ended"
                )
            removal = Removal(secrets.token_urlsafe(12), name, dry_run, who)
            self._removals[removal.id] = removal
            self._drop_old()
        threading.Thread(target=self._run, args=(removal,), name="removal", daemon=True).start()
        return removal

    @property
    def repeat_after_s(self) -> float:
        return self._forgetting.repeat_after_s

    def get(self, removal_id: str) -> Removal | None:
        """The state of this moment: a copy, so that a page does not mix two moments."""
        with self._lock:
            removal = self._removals.get(removal_id)
            return removal and removal.copy()

    def running(self, name: str) -> Removal | None:
        """The removal of this person that is not finished yet."""
        with self._lock:
            return self._running(name, False)

    def _running(self, name: str, dry_run: bool) -> Removal | None:
        for each in self._removals.values():
            if not each.done and (each.name, each.dry_run) == (name, dry_run):
                return each
        return None

    def _drop_old(self) -> None:
        finished = [each.id for each in self._removals.values() if each.done]
        for removal_id in finished[:-MAX_KEPT]:
            del self._removals[removal_id]

    def _drop_named(self, name: str) -> None:
        """Forget the searches for this person, and removals that failed."""
        for each in [*self._removals.values()]:
            if each.name == name and (each.dry_run or each.done):
                del self._removals[each.id]

    def _run(self, removal: Removal) -> None:
        name = removal.name
        try:
            error = self._search(removal, name)
            unreached = [] if error else self._forgetting.unreached()
            if not error and not removal.dry_run:
                # The line says who removed somebody, but not whom.
                self._changes.record(removal.who, "forget", details=dict(removal.counts))
        except Exception as problem:
            error, unreached = _sentence_about(problem, name), []
        is_removed = not error and not removal.dry_run
        with self._lock:
            # All at once: a page must not show the end of a removal that is not done yet.
            removal.error, removal.unreached, removal.done = error, unreached, True
            if is_removed:
                removal.name = ""
                self._drop_named(name)
        if is_removed:
            self._repeat(removal, name)

    def _search(self, removal: Removal, name: str) -> str:
        """Search, or remove. Return why it failed; empty if it did not."""
        try:
            for mention in self._forgetting.mentions(name, removal.dry_run):
                with self._lock:
                    removal.add(mention)
            if not removal.dry_run:
                self._known.changed()
        except Exception as error:
            return _sentence_about(error, name)
        return ""

    def _repeat(self, removal: Removal, name: str) -> None:
        """Remove what functions have written since, with the gallery that they had loaded."""
        time.sleep(self._forgetting.repeat_after_s)
        try:
            repeated, error = self._remove_again(removal, name)
        except Exception as problem:
            repeated, error = "", _sentence_about(problem, name)
        if error:
            # The error may have the name.
            log.error("the second removal stopped: %s", message_without(error, name)[0])
            repeated = (
                "The second removal stopped with an error. The log of `rollcall web` has the"
                " details. Run `rollcall gallery remove NAME --everywhere --yes`."
            )
        # Set once: a page that shows this asks no more.
        with self._lock:
            removal.repeated = repeated

    def _remove_again(self, removal: Removal, name: str) -> tuple[str, str]:
        """Return what became of it, and why it failed; the reason is empty if it did not."""
        self._known.changed()
        if name in self._known.current().names:
            return "The name was enrolled again, so nothing more was removed.", ""
        again = Removal(removal.id, name, False, removal.who)
        error = self._search(again, name)
        if again.found:
            self._changes.record(removal.who, "forget", details=dict(again.counts))
        places = "1 place" if again.found == 1 else f"{again.found:,} places"
        return f"Everything was removed again, from {places}.", error


def _sentence_about(error: Exception, name: str) -> str:
    if isinstance(error, RollcallError):
        return str(error)
    lines = "".join(traceback.format_exception(error))  # the error may have the name
    log.error("the removal of a person failed: %s", message_without(lines, name)[0])
    return "Unexpected error; the log of `rollcall web` has the details."
