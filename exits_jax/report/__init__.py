"""Pictures and the page that people look at after a run."""
