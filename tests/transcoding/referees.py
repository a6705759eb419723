"""Programs that are not pacsnode, and what pixels they find in a file."""

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pacsnode.dicom import transcode

Array = np.ndarray[Any, Any]

EXPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
RLE, JPEG_EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
DCMTK_TOOLS = {
    **dict.fromkeys(transcode.ENCODINGS, "dcmconv"),
    "1.2.840.10008.1.2.4.50": "dcmdjpeg",
    "1.2.840.10008.1.2.4.51": "dcmdjpeg",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    "1.2.840.10008.1.2.4.70": "dcmdjpeg",
    "1.2.840.10008.1.2.4.80": "dcmdjpls",
    "1.2.840.10008.1.2.4.81": "dcmdjpls",
    "1.2.840.10008.1.2.5": "dcmdrle",
}
OF_GDCM = {
    *transcode.ENCODINGS,
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
}


class NotForReferee(Exception):
    """A program that does not know such pixels."""


class Referee(NamedTuple):
    name: str
    syntaxes: frozenset[str]
    decode: Callable[[Path, str], Dataset]


def samples(ds: Dataset) -> Array:
    """Frames, rows, columns, samples, in the colour space that they are stored in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = pydicom.pixels.pixel_array(ds, raw=True)
    shape = int(ds.get("NumberOfFrames") or 1), ds.Rows, ds.Columns, ds.SamplesPerPixel
    return array.reshape(shape)


def as_rgb(ds: Dataset) -> Array:
    from pydicom.pixels.processing import convert_color_space

    array = samples(ds)
    space = str(ds.PhotometricInterpretation)
    if not space.startswith("YBR_FULL"):
        return array
    return convert_color_space(array, "YBR_FULL", "RGB")


def _by_pydicom(path: Path, uid: str) -> Dataset:
    ds = pydicom.dcmread(path)
    if uid == JPEG_EXTENDED:
        raise NotForReferee("12 bits")
    try:
        samples(ds)
    except NotImplementedError as error:
        raise NotForReferee(str(error)) from error
    except RuntimeError as error:
        if ds.BitsAllocated == 32:  # HTJ2K, which OpenJPEG does not read with over 31 bits
            raise NotForReferee(str(error)) from error
        raise
    return ds


def tool(name: str) -> str:
    """pynetdicom brings tools that are called as DCMTK's."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        assert not os.environ.get("CI"), f"{name} is missing"
        pytest.skip(f"{name} is not installed")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout} {done.stderr}"


def by_dcmtk(path: Path, uid: str) -> Dataset:
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    if ds.BitsAllocated == 32 and uid == BIG:
        raise NotForReferee("swaps words within larger samples")
    out = Path(f"{path}.dcmtk")
    options = {"dcmconv": ["+te"], "dcmdjpeg": ["+cn"]}.get(DCMTK_TOOLS[uid], [])
    _run(tool(DCMTK_TOOLS[uid]), *options, str(path), str(out))
    return pydicom.dcmread(out)


def _by_gdcm(path: Path, uid: str) -> Dataset:
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    if ds.BitsAllocated == 1 or ds.PhotometricInterpretation == "YBR_FULL_422":
        raise NotForReferee("not known to it")
    if ds.BitsAllocated == 32 and uid == BIG:
        raise NotForReferee("swaps words within larger samples")
    if uid == RLE and ds.SamplesPerPixel * ds.BitsAllocated > 24:
        raise NotForReferee("reads pydicom's own files of such colours wrongly")
    if ds.SOPClassUID == SINGLE_FRAME and "NumberOfFrames" in ds and ds.NumberOfFrames > 1:
        raise NotForReferee("refuses several frames in this SOP class")
    out = Path(f"{path}.gdcm")
    _run(tool("gdcmconv"), "--raw", "-I", str(path), str(out))
    return pydicom.dcmread(out)


REFEREES = (
    Referee("pydicom", frozenset(transcode.ENCODINGS) | transcode.COMPRESSED, _by_pydicom),
    Referee("DCMTK", frozenset(DCMTK_TOOLS), by_dcmtk),
    Referee("GDCM", frozenset(OF_GDCM), _by_gdcm),
)
