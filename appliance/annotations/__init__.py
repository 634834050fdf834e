"""What pictures really show, as people wrote it down: read in one way by the trainer and by a replay."""
