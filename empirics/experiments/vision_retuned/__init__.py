"""Second edition of sequential digits: interior learning rates on three tuning seeds, forty seeds, a declared protocol."""
