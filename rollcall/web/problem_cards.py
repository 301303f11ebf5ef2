"""Problems by cause: the number, the sentence that says what happened, and what helps."""

from __future__ import annotations

from rollcall.index.problem_queries import causes
from rollcall.web.parts import parts


def count_problems() -> int:
    """The number of causes of problems that nobody has dismissed."""
    return len(causes(parts().queue, parts().database))
