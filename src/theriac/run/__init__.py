"""Limits, devices and sandboxes: how work is run, whatever the work is."""
