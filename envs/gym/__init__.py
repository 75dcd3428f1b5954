"""Tasks as Gymnasium environments, for agents of other libraries: ids, and costs of guardrails in `info`."""
