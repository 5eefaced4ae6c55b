"""What the site of `make docs` takes from outside of `docs/`, and the promise that its pages ask no other host.

MkDocs calls these functions by their names; see `deploy/mkdocs.yml`.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = ("SECURITY.md", "benchmarks/LOG.md")
"""Pages that do not lie in `docs/`, by their paths in the repository."""

POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"
"""What a page may load: what came with it. The theme would ask other hosts for diagrams and for old browsers."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_context: object) -> str:
    """Let links lead where they lead in the repository, where `docs/` is a folder of its own."""
    if page.file.src_uri in OUTSIDE:
        return re.sub(r"\]\((?:\.\./)*docs/", "](" + "../" * page.file.src_uri.count("/"), markdown)
    return re.sub(rf"\]\(\.\./({'|'.join(map(re.escape, OUTSIDE))})", r"](\1", markdown)


def on_post_page(output: str, **_context: object) -> str:
    """Have the browser hold a page to the policy."""
    return output.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">', 1)


on_post_template = on_post_page
"""For the page that a server shows where there is none."""
