"""What CUDA lacks is named with the way out; its libraries are asked by name."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.targets import Fact, Gpu, cuda_advice, not_applicable, unmet_cuda

from .some_gpu import some_gpu

CHILD: Any = importlib.import_module("autotune.targets.cuda_child")  # a script, not exported
NO_FILE = "cannot open shared object file"
H100 = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
MET = {
    "built_for": "13.0",
    "missing": {},
    "cuda": "13.0",
    "cudnn": "9.13.0",
    "driver_cuda": "13.0",
    "devices": [H100],
    "driver_error": "",
}


def gpus(driver: str = "580.159") -> Fact[tuple[Gpu, ...]]:
    return some_gpu(name="NVIDIA H100 80GB HBM3", driver=driver)


NONE: Fact[tuple[Gpu, ...]] = not_applicable("no NVIDIA driver is loaded")


@pytest.mark.parametrize(
    ("changes", "listed", "words"),
    [
        ({"missing": {"libcuda.so.1": NO_FILE}, "devices": []}, NONE, "no NVIDIA driver"),
        (
            {"missing": {"libcuda.so.1": NO_FILE, "libcublas.so.13": NO_FILE}, "devices": []},
            NONE,
            "a driver of series 580 or later",
        ),
        (
            {"missing": {"libcuda.so.1": NO_FILE}, "devices": []},
            gpus(),
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ),
        (
            {"driver_cuda": "12.4", "devices": []},
            gpus("550.54.15"),
            "driver 550.54.15 goes up to CUDA 12.4, the runtime is built for CUDA 13.0: install a",
        ),
        ({"devices": [], "driver_error": "CUDA_ERROR_NO_DEVICE"}, gpus(), "CUDA_VISIBLE_DEVICES"),
        (
            {"missing": {"libcublas.so.13": NO_FILE, "libcublasLt.so.13": NO_FILE}},
            gpus(),
            'pip install "onnxruntime-gpu[cuda,cudnn]" nvidia-cublas',
        ),
        (
            {"devices": [{"name": "NVIDIA B200", "compute_capability": "10.0"}]},
            gpus(),
            "NVIDIA B200 has compute capability 10.0",
        ),
        ({"devices": [{"name": "Tesla V100", "compute_capability": "7.0"}]}, gpus(), "7.5, 8.0"),
    ],
)
def test_an_unmet_requirement_is_said_with_the_way_out(
    changes: dict[str, Any], listed: Fact[tuple[Gpu, ...]], words: str
) -> None:
    assert words in unmet_cuda({**MET, **changes}, listed)


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.7", "8.9", "9.0", "12.0", "12.1"])
def test_where_nothing_is_known_to_lack_the_runtime_has_the_last_word(capability: str) -> None:
    device = {**H100, "compute_capability": capability}
    assert unmet_cuda({**MET, "devices": [device]}, gpus()) == ""
    assert unmet_cuda({}, gpus()) == ""
    # Language models have no convolutions.
    assert unmet_cuda({**MET, "missing": {"libcudnn.so.9": NO_FILE}}, gpus()) == ""


def test_a_device_beside_another_build_is_pointed_out() -> None:
    install = ('pip install "autotune-slm[cuda]"',)
    words = cuda_advice(gpus(), install)
    assert "NVIDIA H100 80GB HBM3 with driver 580.159" in words
    assert install[0] in words
    assert "--target cuda@/path/to/python" in words
    assert "series" not in words
    assert "a driver of series 580 or later" in cuda_advice(gpus("535.1"), install)
    assert cuda_advice(NONE, install) == ""


def library(*, error: int = 0) -> Any:
    """A driver with one device and CUDA's libraries, by the calls that are made of them."""

    def writing(value: Any, *, into: int = 0) -> Callable[..., int]:
        def call(*places: Any) -> int:
            place = places[into]
            # What ctypes.byref points to, or a buffer.
            getattr(place, "_obj", place).value = value
            return 0

        return call

    def attribute(place: Any, number: int, _device: Any) -> int:
        return writing({75: 9, 76: 0}[number])(place)

    return SimpleNamespace(
        cuInit=lambda _flags: error,
        cuGetErrorName=writing(b"CUDA_ERROR_NO_DEVICE", into=1),
        cuDeviceGetCount=writing(1),
        cuDeviceGet=writing(0),
        cuDeviceGetName=writing(b"NVIDIA H100 80GB HBM3"),
        cuDeviceTotalMem_v2=writing(80 * 2**30),
        cuDeviceGetAttribute=attribute,
        cuDriverGetVersion=writing(13000),
        cudaRuntimeGetVersion=writing(13020),
        cudnnGetVersion=ctypes.CFUNCTYPE(ctypes.c_size_t)(lambda: 91300),
    )


def test_libraries_tell_their_versions_and_the_devices() -> None:
    told = CHILD.ask("13.0", is_windows=False, load=lambda _name: library())
    assert told["missing"] == {}
    assert (told["cuda"], told["cudnn"], told["driver_cuda"]) == ("13.2", "9.13.0", "13.0")
    (device,) = told["devices"]
    assert device["compute_capability"] == "9.0"
    assert device["memory_bytes"] == str(80 * 2**30)
    assert unmet_cuda(told, gpus()) == ""


def test_a_driver_without_a_device_names_its_error() -> None:
    told = CHILD.ask("13.0", is_windows=False, load=lambda _name: library(error=100))
    assert (told["devices"], told["driver_error"]) == ([], "CUDA_ERROR_NO_DEVICE")
    assert "CUDA_ERROR_NO_DEVICE" in unmet_cuda(told, gpus())


@pytest.mark.parametrize("is_windows", [False, True])
def test_every_library_that_cannot_be_loaded_is_named(*, is_windows: bool) -> None:
    def refuse(name: str) -> Any:
        raise OSError(f"{name}: {NO_FILE}")

    told = CHILD.ask("13.0", is_windows=is_windows, load=refuse)
    names = CHILD.library_names("13.0", is_windows=is_windows)
    assert set(told["missing"]) == set(names.values())
    assert "no NVIDIA driver" in unmet_cuda(told, NONE)
