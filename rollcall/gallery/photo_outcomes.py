"""The outcomes of an enrolment, one for each photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rollcall.core.gallery import Gallery

OutcomeKind = Literal[
    "enrolled",
    "turned upright",
    "look-alike",
    "far",
    "two names",
    "duplicate",
    "no face",
    "several faces",
    "too small",
    "blurred",
    "turned away",
    "other person",
    "unreadable",
    "bad name",
]
"""The kinds of outcomes. Photos of the kinds from `no face` on are never enrolled, those
of `two names` only if the picture differs from the other person's."""


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """Whether a photo was enrolled, and why not."""

    photo: str
    """The path or the file name, as it was given."""
    ok: bool
    """Whether the face is in the gallery now, also if it was there before."""
    kind: OutcomeKind
    sentence: str = ""
    """The reason or the remark, without the photo's name; empty for a photo without remarks."""
    warning: str = ""
    """Why somebody should look at the photo, although it was enrolled."""
    example_id: str = ""
    """Id of the new encoding; empty if none was added."""

    @property
    def remark(self) -> str:
        """The reason or the remark, and the warning, without the photo's name."""
        return "; ".join(filter(None, (self.sentence, self.warning)))

    def line(self, text: str) -> str:
        """A text about the photo, with its name."""
        if self.kind == "unreadable":
            return f"{self.photo!r} {text}"
        return f"{self.photo!r}{'' if self.ok else ' cannot be enrolled'}: {text}"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The gallery after photos of one person were added to it."""

    name: str
    gallery: Gallery
    outcomes: tuple[PhotoOutcome, ...] = ()
    """One for each photo, in order."""

    @property
    def added(self) -> int:
        """Number of new encodings; 0 if the gallery already had all good photos."""
        return sum(bool(outcome.example_id) for outcome in self.outcomes)

    @property
    def refused(self) -> list[str]:
        """Reasons why photos were not enrolled. Each sentence names the file."""
        return [each.line(each.sentence) for each in self.outcomes if not each.ok]

    @property
    def warnings(self) -> list[str]:
        """Photos that were enrolled, but may show another person."""
        return [each.line(each.warning) for each in self.outcomes if each.warning]

    @property
    def notes(self) -> list[str]:
        """Remarks about good photos, for example that one was turned upright."""
        return [each.line(each.sentence) for each in self.outcomes if each.ok and each.sentence]
