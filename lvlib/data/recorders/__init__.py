"""Games and simulators that clips are recorded from."""
