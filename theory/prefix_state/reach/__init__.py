"""Which states prefixes reach, and by which tokens: one solver for each kind of system behind one entry point."""
