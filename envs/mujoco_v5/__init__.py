"""Gymnasium's MuJoCo v5 tasks: batched rewards and terminations, one file per task."""
