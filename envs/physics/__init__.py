"""MuJoCo: batches of simulations, signals, and actuators."""
