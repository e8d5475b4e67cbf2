"""The command line: settings, workdir, and a function for each phase."""
