"""The version of the package, on its own so that a build reads it without importing the rest."""
VERSION = "1.0.0"
