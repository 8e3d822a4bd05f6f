"""The check of a data folder beside the training: it reads everything while the first steps are being taken."""

import json
import logging
import threading
from pathlib import Path

from atrous.data.contents import Folder
from atrous.data.doctor import check_folder
from atrous.disk import write_text
from atrous.findings import CheckReport

__all__ = ["BackgroundCheck"]

LOG = logging.getLogger(__name__)


class BackgroundCheck:
    """Runs `check_folder` in a thread from the first call of `watch` on, and raises what it finds in the caller's.

    Several trainings one after the other may share it: it runs once.

    It begins no earlier because loader workers are forked before the first step, and a fork beside a working thread
    could inherit one of its locks.

    Args:
        folder: to be checked.
        file: where the report goes.
    """

    def __init__(self, folder: Folder, file: Path) -> None:
        self.folder, self.file = folder, file
        self._report: CheckReport | None = None
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._stop, self._done = threading.Event(), threading.Event()
        self._reported = False

    def take(self, report: CheckReport) -> None:
        """Use the report of a check that has been made already."""
        self._report = report

    def watch(self) -> None:
        """Begin if need be; raise if the check has found an error.

        Raises:
            DataError: the first error of the check.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="check", daemon=True)
            self._thread.start()
        if self._done.is_set() and not self._reported:
            self._announce()

    def finish(self) -> CheckReport:
        """Wait for the check, and raise what it found.

        Raises:
            DataError: the first error of the check.
        """
        self.watch()
        if not self._done.is_set():
            LOG.info("waiting for the check of all images to end")
        self._done.wait()
        if not self._reported:
            self._announce()
        assert self._report is not None
        return self._report

    def stop(self) -> None:
        """End the check early; its report is not written."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            if self._report is None:
                self._report = check_folder(self.folder, stop=self._stop)
        except BaseException as failure:  # to be raised where the training is
            self._failure = failure
        self._done.set()

    def _announce(self) -> None:
        self._reported = True
        if self._failure is not None:
            raise self._failure
        assert self._report is not None
        write_text(self.file, json.dumps(self._report.to_dict(), indent=1) + "\n")
        self._report.raise_errors()
        if count := len(self._report.warnings):
            many = "warnings" if count > 1 else "warning"
            LOG.warning("the check of all images has %d %s; see %s or the report", count, many, self.file)
