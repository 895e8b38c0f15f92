"""What `tests/campaign.py` gives to lvlib: a small place to work in, and three kinds of damage to it."""
