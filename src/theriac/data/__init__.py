"""Data sets: opening, poisoning, writing and drawing them."""
