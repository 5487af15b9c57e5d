"""What `python -m training.evaluate` is made of, one idea a file."""
