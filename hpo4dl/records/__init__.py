"""What a run leaves on the disk, and what that says: the journal, its state, checkpoints."""
