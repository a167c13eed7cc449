"""Training on several devices or machines: an option of `recipes.train`, see docs/scale.md."""
