"""Looking at a model before it is trained, and at its curves afterwards."""
