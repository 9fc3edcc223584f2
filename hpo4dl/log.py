"""The logger of a module, which cannot end a run."""

from __future__ import annotations

import logging
import traceback
from contextlib import suppress
from typing import Any


class Log(logging.LoggerAdapter):  # type: ignore[type-arg]  # Python 3.10's takes none
    """The logger of that name, whose handlers and filters are the user's: what they raise ends no run."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **keywords: Any) -> None:
        """Log, from one call further up than this; what a handler raises is told on stderr, as `logging` tells it."""
        try:
            super().log(level, msg, *args, **{'stacklevel': 2, **keywords})
        except Exception:
            with suppress(Exception):
                traceback.print_exc()
