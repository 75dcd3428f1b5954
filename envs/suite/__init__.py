"""dm_control.suite tasks: batched rewards and terminations, one file per domain."""
