"""The bound on the disk that all checkpoints take together: which of them are to go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .state import Checkpoint


@dataclass
class DiskQuota:
    """Keeps to `max_disk`, as far as evicting paused trials does; never the incumbent's checkpoint.

    Every call that runs or starts, and the copy of a new incumbent, may take as much as the largest checkpoint so far.
    """

    limit: int | None
    """Bytes."""
    is_exceeded: bool = False
    """Whether what cannot be evicted may have exceeded the limit alone."""
    largest: int = 0
    """Bytes of the largest checkpoint so far."""

    def evictions(
        self,
        checkpoints: Mapping[int, Checkpoint],
        busy: set[int],
        calls: int,
        best_size: int,
        priority: Callable[[int], Any],
    ) -> list[int]:
        """Return the trials to lose their checkpoints now: not those that are `busy`, the lowest `priority` first.

        `calls` counts those that run or are about to start; `best_size` are the bytes of the incumbent's copy.
        """
        if self.limit is None:
            return []
        used = sum(checkpoint.size for checkpoint in checkpoints.values()) + best_size
        self.largest = max([self.largest, *(checkpoint.size for checkpoint in checkpoints.values())])
        excess = used + (calls + 1) * self.largest - self.limit
        evicted = []
        for trial_id in sorted((i for i in checkpoints if i not in busy), key=priority) if excess > 0 else ():
            if excess > 0 and checkpoints[trial_id].size > 0:
                excess -= checkpoints[trial_id].size
                evicted.append(trial_id)
        self.is_exceeded = self.is_exceeded or excess > 0
        return evicted
