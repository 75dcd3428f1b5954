"""The quickstart, and its unguarded twin."""
