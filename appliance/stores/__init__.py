"""What stays on this device: the ledger of verdicts and the pictures of parts."""
