"""The checks of the labs, a module each."""
