"""The race: ask, start, collect, record, tell, until a stop."""
