"""The tools beside the server, `modelserver versions`, `pull` and `manifest`: for whoever puts
versions somewhere and wonders what the server makes of them.

They look through the server's own storages, platforms and checks, so they see what it sees. Each
tool is a module with a `main`, imported when it is called; none imports a framework for serving,
and the libraries of a store only where that store is looked at.
"""

from collections.abc import Sequence
from importlib import import_module

TOOLS = ("versions", "pull", "manifest")
"""The words that, as the first argument of `modelserver`, call a tool."""

TOOLS_HELP = """\
tools, each with a --help of its own:
  modelserver versions URI     list the versions there, and what the incomplete ones lack
  modelserver pull URI DIR     copy one version into a directory
  modelserver manifest DIR     state what a version consists of, before it is uploaded"""


def run_tool(argv: Sequence[str]) -> int:
    """Run the tool `argv[0]` on the arguments after it; return its exit code: 0 done, 1 not done,
    2 bad usage.
    """
    tool = import_module(f"modelserver.tools.{TOOLS[TOOLS.index(argv[0])]}")
    code: int = tool.main(argv[1:])
    return code
