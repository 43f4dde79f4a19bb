"""What a model looks at: pictures, page and the command's run."""
