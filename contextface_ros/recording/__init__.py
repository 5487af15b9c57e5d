"""Sessions as files: what was said, felt and shown, message by message."""
