"""A point mass in three corridors, and the recipe with which it is learned."""
