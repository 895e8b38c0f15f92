"""What a configuration amounts to: its sizes, and its speed on this machine."""
