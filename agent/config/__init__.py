"""The configuration of a run: its models, its layers, its plug-ins."""
