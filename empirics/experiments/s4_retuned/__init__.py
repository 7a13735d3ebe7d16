"""Second edition of the synthetic deep S4 study: interior rates on three tuning seeds, ten seeds, a declared protocol."""
