"""Live attachments of programs to hooks, one module for each kind of hook."""
