"""Which method contains which, per class of systems."""
