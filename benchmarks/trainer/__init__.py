"""What the trainer promises, measured: a release in use, and what pre-trained weights are worth."""
