"""Compare ways of joining self-supervised learning and meta-learning, reproducibly."""
