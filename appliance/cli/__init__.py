"""The `appliance` command: one module per command, wiring only."""
