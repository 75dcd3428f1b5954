"""What an agent minimises: the task cost, intrinsic costs and a critic."""
