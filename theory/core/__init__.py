"""Vocabulary that knows no claim: numbers, systems, exact linear algebra, gramians, claims and their registry."""
