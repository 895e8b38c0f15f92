"""The checks of notebook NN are in cNN.py. They are imported when a notebook asks for one of them."""
