"""MuJoCo: batches of simulations, signals, and what actuators do."""
