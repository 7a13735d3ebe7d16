"""Data: published numbers to compare with, and small data sets, offline first."""
