"""Vocabulary that knows no claim: numbers, systems, exact linear algebra, Gramians, initialisations, tolerances."""
