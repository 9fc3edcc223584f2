"""Looking at runs: reports, plots, pages, exports, replays. Nothing that tunes needs it."""
