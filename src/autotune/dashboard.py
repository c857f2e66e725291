"""``autotune dashboard RUN``: optuna-dashboard on a copy of the run's study.

A copy, because the dashboard can delete trials and studies, and nothing that is clicked
there may change what a run left.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import tempfile
from pathlib import Path

import typer

from autotune.errors import UsageError
from autotune.run_folders import read_run

__all__ = ["serve_dashboard"]

_HOST = "127.0.0.1"


def serve_dashboard(run: Path, *, port: int) -> None:
    """Serve the study of ``run`` on this machine until Ctrl-C.

    Raises:
        UsageError: no run, no study or one that cannot be read, a port in use, or
            optuna-dashboard is not installed.
    """
    read_run(run)
    study = run / "study.journal"
    if not study.is_file() or study.stat().st_size == 0:
        raise UsageError(f"{str(run)!r} has no study yet: no training has begun; look again later.")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise UsageError(
            "`autotune dashboard` needs optuna-dashboard, which is not installed:"
            ' pip install "autotune-slm[dashboard]".'
        )
    _check_port(port)
    from optuna.storages import JournalStorage  # noqa: PLC0415 - heavy
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - heavy
    from optuna_dashboard import run_server  # noqa: PLC0415 - an extra

    with tempfile.TemporaryDirectory(prefix="autotune-dashboard-") as folder:
        copy = shutil.copyfile(study, Path(folder) / "study.journal")
        try:
            storage = JournalStorage(JournalFileBackend(str(copy)))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{str(study)!r} is no whole journal of optuna's ({error!r}); `autotune show {run}`"
                " tells the trials, which are kept in files of their own."
            ) from error
        typer.echo(f"http://{_HOST}:{port}  (a copy of {study}; Ctrl-C ends)", err=True)
        run_server(storage, host=_HOST, port=port)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} of {_HOST} cannot be served on ({error.strerror}); name another"
                " --port."
            ) from None
