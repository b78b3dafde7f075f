"""The plugins that people have, each with DRM, for real."""
