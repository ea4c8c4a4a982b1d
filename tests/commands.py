"""Commands of `tempembed` in this process: one of their own would spend seconds on importing torch."""

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from tempembed import cli


def tempembed(*arguments):
    """Run a command; its exit status and what it printed."""
    command = ["tempembed", *map(str, arguments)]
    out, err, status, handler = io.StringIO(), io.StringIO(), 0, signal.getsignal(signal.SIGTERM)
    try:
        with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
