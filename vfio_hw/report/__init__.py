"""What a run leaves behind: the event log, and everything that is made from it."""
