"""Training victims and references, and recording what became of their poison."""
