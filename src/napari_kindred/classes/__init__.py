"""Classes by name: the promptable model, and how it is trained."""
