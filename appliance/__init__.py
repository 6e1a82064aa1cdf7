"""An open acoustic surveillance appliance: hear, know, locate, log, alert."""

__version__ = "0.1.0"
