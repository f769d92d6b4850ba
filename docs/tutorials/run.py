"""Runs the notebook and keeps what it prints and draws: `python docs/tutorials/run.py`."""

import tempfile
from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).with_name("tour.ipynb")


def run(folder: str | Path) -> nbformat.NotebookNode:
    """Runs the notebook in a folder, which gets its files.

    Args:
        folder: str or path.

    Returns:
        The notebook with its outputs, small enough for a repository: of each picture
        one format, and not what libraries say about the machine.

    Raises:
        `nbclient.exceptions.CellExecutionError`: if a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(
        notebook, resources=resources, record_timing=False, coalesce_streams=True
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                if "image/jpeg" in output.get("data", ()):
                    output.data = {"image/jpeg": output.data["image/jpeg"]}
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        nbformat.write(run(scratch), NOTEBOOK)
