"""A model card in Markdown and HTML: `moppet card`."""
