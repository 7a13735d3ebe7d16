"""Claims as data, deciding them, and the tables of what was decided."""
