"""The served site: evidence about AI systems, asked for and tried out in a browser."""

from theriac.web.app import create_app
from theriac.web.site import Site, open_battery, open_store

__all__ = ["Site", "create_app", "open_battery", "open_store"]
