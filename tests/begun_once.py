"""What takes long to begin and is the same for many tests: begun once in a process, and copied for each of them."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


@cache
def _begun(begin: Callable[..., object], *given: object) -> TemporaryDirectory[str]:
    made = TemporaryDirectory(prefix="begun-")
    begin(Path(made.name).resolve(), *given)
    return made


def begun_once(folder: Path, begin: Callable[..., object], *given: object) -> None:
    """Have in a folder what `begin(folder, *given)` makes there, as if it had been called for this folder.

    Files are copied, never linked, so that nothing which one test does to its own reaches another's. Where a file says
    in which folder it was made, the copy says its own: a publisher remembers what was seen at which address.

    Args:
        folder: where it shall lie; made if it is not there.
        begin: a function of a module, called for the first such folder of a process.
    """
    template = Path(_begun(begin, *given).name).resolve()
    shutil.copytree(template, folder, copy_function=shutil.copy, dirs_exist_ok=True)
    for path in (folder / made.relative_to(template) for made in template.rglob("*")):
        if path.is_file() and bytes(template) in (content := path.read_bytes()):
            path.write_bytes(content.replace(bytes(template), bytes(folder)))
