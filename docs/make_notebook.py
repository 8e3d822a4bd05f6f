"""Runs docs/first-model.ipynb from top to bottom, stores its outputs, and writes it as a page, docs/first-model.md.

    python docs/make_notebook.py

Cells are plain Python without magics, so the interpreter runs them: no Jupyter is needed here or in the tests.
"""

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
NOTEBOOK, PAGE = DOCS / "first-model.ipynb", DOCS / "first-model.md"
NOTE = "<!-- Written by `python docs/make_notebook.py` from first-model.ipynb. -->"
DOWNLOAD = "This page is the notebook [first-model.ipynb](first-model.ipynb) with its outputs."


def run(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run all code cells in one namespace, in a folder of their own.

    Args:
        notebook: a notebook of format 4; its outputs are replaced.
        folder: where the cells write.

    Returns:
        What the cells have defined.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for number, cell in enumerate(code_cells(notebook), start=1):
            cell["outputs"], cell["execution_count"] = outputs_of("".join(cell["source"]), names, number), number
    finally:
        os.chdir(before)
    return names


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that hold code, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell prints, and how its last expression shows itself."""
    tree = ast.parse(source, filename=f"cell {number}")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        found.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = shown(value)
        found.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return found


def shown(value: object) -> dict[str, Any]:
    """A value as Jupyter would show it, by MIME type."""
    for method, kind in (("_repr_html_", "text/html"), ("_repr_png_", "image/png")):
        picture = getattr(value, method, lambda: None)()
        if picture is not None:
            text = base64.b64encode(picture).decode() if isinstance(picture, bytes) else picture
            return {kind: text, "text/plain": type(value).__name__}
    return {"text/plain": repr(value)}


def page(notebook: dict[str, Any]) -> str:
    """The notebook with its outputs as Markdown."""
    parts = [NOTE]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/html" in data:
                parts.append(data["text/html"])
            elif "image/png" in data:
                parts.append(f'<img alt="output" src="data:image/png;base64,{data["image/png"]}">')
            else:
                text = "".join(output.get("text", "")) or data["text/plain"]
                parts.append(f"```text\n{text.rstrip()}\n```")
    parts.insert(2, DOWNLOAD)  # after the title and the introduction
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run the notebook, and write it and the page."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(notebook), encoding="utf-8")
    print(f"written: {NOTEBOOK}, {PAGE}")


if __name__ == "__main__":
    main()
