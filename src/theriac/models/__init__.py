"""Image classifiers: opened from files that nobody has to trust, built, saved, and looked into.

The modules are imported one by one (``theriac.models.opening``, ``theriac.models.saving`` …), because some of them work
without torch, and the sandboxed child that converts a pickle must start quickly.
"""
