"""The protocols and result types that a plugin author sees."""
