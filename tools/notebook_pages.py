"""Turn the notebooks in docs/notebooks into pages of the documentation site.

MkDocs runs this as a hook. A notebook is committed without outputs; with MOPPET_RUN_NOTEBOOKS=1 in
the environment (`make docs`) it is executed first, so that its page shows them.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from reader_folder import prepare

MIME_TYPES = ("text/html", "image/svg+xml", "image/png", "text/plain")  # the first there is shown
PLAIN = "import os; os.environ['TERM'] = 'dumb'; os.environ.pop('FORCE_COLOR', None)"
"""What a kernel runs first, so that commands print neither colors nor moving bars."""


def notebook_page(notebook: dict[str, Any], file_name: str) -> str:
    """Return a notebook (nbformat 4) as Markdown: its texts, its code and its outputs, if any."""
    parts = []
    for cell in notebook["cells"]:
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```python\n{source}\n```")
            printed = "".join(_text(o["text"]) for o in cell["outputs"] if "text" in o)
            if printed:
                parts.append(f"```text\n{printed.replace(chr(13), '').rstrip()}\n```")
            parts += [_output(output["data"]) for output in cell["outputs"] if "data" in output]
    parts.insert(1, f"[Download this notebook]({file_name}){{ .md-button }}")
    return "\n\n".join(parts) + "\n"


def _output(data: dict[str, Any]) -> str:
    kind = next(kind for kind in MIME_TYPES if kind in data)
    content = _text(data[kind])
    if kind == "image/png":
        return f"![figure](data:image/png;base64,{content.strip()})"
    if kind == "text/plain":
        return f"```text\n{content}\n```"
    content = re.sub(r"<style.*?</style>", "", content, flags=re.DOTALL)
    one_line = re.sub(r"\s*\n\s*", " ", content)  # Markdown would end the HTML at a blank line
    return f'<div class="notebook-output">{one_line}</div>'


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def execute(path: Path) -> dict[str, Any]:
    """Return the notebook with the outputs of a run.

    It runs in a folder of its own, see `reader_folder.prepare`.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        environment = prepare(Path(folder)) | {"IPYTHONDIR": f"{folder}/.ipython"}
        startup = Path(folder, ".ipython", "profile_default", "startup")
        startup.mkdir(parents=True)
        (startup / "plain.py").write_text(PLAIN, encoding="utf-8")
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=600,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=40"],  # it warns of TCP, which stays on this machine
        )
        client.execute(env=environment)
    return dict(notebook)


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add a page for each notebook to those of the site (MkDocs calls this)."""
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(file.abs_src_path)
        if os.environ.get("MOPPET_RUN_NOTEBOOKS"):
            notebook = execute(path)
        else:
            notebook = json.loads(path.read_text(encoding="utf-8"))
        page = file.src_uri.removesuffix(".ipynb") + ".md"
        files.append(File.generated(config, page, content=notebook_page(notebook, path.name)))
    return files
