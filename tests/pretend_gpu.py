"""A GPU that is none: tensors that say ``cuda:0`` and are computed, really, on the CPU.

    with pretend_gpu():
        code(torch.device("cuda"))

What CUDA refuses is refused here too: an operation on tensors of both devices, a random number
generator of the other device, ``numpy()``. So a test sees a tensor that was left behind on the
CPU, on a machine without a GPU. It knows nothing of kernels, streams, speed or how much memory is
held, and other threads know nothing of it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
TOTAL_BYTES = 80 * 2**30
COPIES = ("_to_copy", "copy_")  # from one device to the other
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")  # by indices on the CPU
CpuGenerator = torch.Generator


class OnGpu(Tensor):
    """A tensor of which the numbers lie on the CPU, in ``here``."""

    here: Any
    device = GPU  # of Python alone: autograd would ask a driver for streams
    is_cuda, is_cpu = True, False

    @staticmethod
    def __new__(cls, here: Tensor, requires_grad: bool | None = None) -> "OnGpu":
        here = _here(here)
        with torch.inference_mode(False):  # else torch could not make it a view of another
            made = Tensor._make_wrapper_subclass(
                cls,
                here.size(),
                strides=here.stride(),
                storage_offset=here.storage_offset(),
                dtype=here.dtype,
                layout=here.layout,
                requires_grad=bool(requires_grad),
            )
        made.here = here
        if requires_grad is not None:  # as accelerate makes a parameter: by its present class
            made._is_param = True
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.here!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.__reduce_ex__(protocol)  # into a file that loads onto the CPU

    def storage(self) -> Any:
        return self.here.storage()

    def untyped_storage(self) -> Any:
        return self.here.untyped_storage()

    def data_ptr(self) -> Any:
        return self.here.data_ptr()

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        _refuse_mixture(name, args, kwargs)
        result = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if name == "copy_" and not isinstance(args[0], cls):
            return args[0]
        wrapped = tree_map(_on_gpu, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)  # type: ignore[no-untyped-call]


def _refuse_mixture(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    if name in COPIES:
        return
    leaves = tree_leaves((args, kwargs))
    left = [
        leaf
        for leaf in leaves
        if isinstance(leaf, Tensor) and not isinstance(leaf, OnGpu) and leaf.dim() > 0
    ]
    if name in INDEXING and isinstance(args[0], OnGpu):
        left = [each for each in left if each.is_floating_point()]
    if left:
        shapes = ", ".join(str(tuple(each.shape)) for each in left)
        raise RuntimeError(f"{name}: tensors of shape {shapes} are on the CPU, others on the GPU")
    for leaf in leaves:
        if isinstance(leaf, CpuGenerator):
            _require_generator_of_gpu(leaf)


def _require_generator_of_gpu(generator: torch.Generator) -> None:
    if not isinstance(generator, GpuGenerator):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def _here(leaf: Any) -> Any:
    return leaf.here if isinstance(leaf, OnGpu) else leaf


def _on_gpu(leaf: Any) -> Any:
    return OnGpu(leaf) if type(leaf) is Tensor else leaf


class GpuGenerator(CpuGenerator):
    """A generator that says it belongs to the GPU."""

    device = GPU


class _Generators(CpuGenerator):
    """``torch.Generator``, of either device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return GpuGenerator() if _is_gpu(device) else CpuGenerator(device)


class _Move(torch.autograd.Function):
    """From one device to the other, and gradients back."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        copied = tensor.detach().clone()
        return copied.here if isinstance(copied, OnGpu) else OnGpu(copied)

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return _Move.forward(_, *gradients)


class _ToGpu(TorchFunctionMode):
    """What is asked for on the GPU is made on the CPU, and says otherwise."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if kwargs.pop("pin_memory", False) or name == "pin_memory":
            pinned = args[0].clone() if name == "pin_memory" else func(*args, **kwargs)
            pinned.pinned = True
            return pinned
        if name == "is_pinned":
            return hasattr(args[0], "pinned")
        if name in ("cuda", "cpu"):
            name, args = "to", (args[0], name)
        if name == "to" and (device := _device_of(args[1:], kwargs)):
            layout = {key: value for key, value in kwargs.items() if key == "memory_format"}
            dtype = _dtype_of(args, kwargs)
            if args[0].device.type == device.type and args[0].dtype == dtype and not layout:
                return args[0]
            same = Tensor.to(args[0], dtype, **layout)
            here = "cuda" if isinstance(same, OnGpu) else "cpu"
            return same if device.type == here else _Move.apply(same)
        if _is_gpu(kwargs.get("device")):
            if kwargs.get("generator") is not None:
                _require_generator_of_gpu(kwargs["generator"])
            made = func(*args, **kwargs | {"device": "cpu"})
            return OnGpu(made).requires_grad_(made.requires_grad)
        if name == "tolist" and isinstance(args[0], OnGpu):
            return args[0].here.tolist()
        if name == "numpy" and isinstance(args[0], OnGpu):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return func(*args, **kwargs)


def _is_gpu(each: Any) -> bool:
    if isinstance(each, str):
        return each.startswith("cuda")
    return isinstance(each, torch.device) and each.type == "cuda"


def _device_of(args: Any, kwargs: dict[str, Any]) -> torch.device | None:
    for each in (*args, *kwargs.values()):
        if isinstance(each, (str, torch.device)):
            return torch.device(each)
        if isinstance(each, Tensor):
            return each.device
    return None


def _dtype_of(args: Any, kwargs: dict[str, Any]) -> torch.dtype:
    found: torch.dtype = args[0].dtype
    for each in (*args[1:], *kwargs.values()):
        found = each if isinstance(each, torch.dtype) else getattr(each, "dtype", found)
    return found


class _Event:
    """All is done at once."""

    def record(self, _: Any) -> None:
        """Nothing is on its way."""

    def query(self) -> bool:
        return True


def _stream(_: Any = None) -> SimpleNamespace:
    return SimpleNamespace(is_capturing=lambda: False)


DRIVER = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda _=0: "pretended GPU",
    "get_device_capability": lambda _=0: (9, 0),
    "get_device_properties": lambda _=0: SimpleNamespace(
        name="pretended GPU", total_memory=TOTAL_BYTES, major=9, minor=0, multi_processor_count=100
    ),
    "mem_get_info": lambda _=0: (TOTAL_BYTES - 2**30, TOTAL_BYTES),
    "synchronize": lambda _=0: None,
    "empty_cache": lambda: None,
    "ipc_collect": lambda: None,
    "reset_peak_memory_stats": lambda _=0: None,
    "memory_allocated": lambda _=0: 2**28,
    "max_memory_allocated": lambda _=0: 2**29,
    "memory_reserved": lambda _=0: 2**29,
    "max_memory_reserved": lambda _=0: 2**29,
    "current_stream": _stream,
    "Event": _Event,
}


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """Within it ``torch.device("cuda")`` can be computed on."""
    real_autocast, conversion = torch.autocast, torch.__future__

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        del device_type
        return real_autocast("cpu", *args, **kwargs)

    before = conversion.get_overwrite_module_params_on_conversion()
    conversion.set_overwrite_module_params_on_conversion(True)
    try:
        with ExitStack() as stack:
            # in a thread of its own transformers would know nothing of this
            stack.enter_context(mock.patch.dict(os.environ, HF_DEACTIVATE_ASYNC_LOAD="1"))
            for name, pretended in DRIVER.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, pretended))
            stack.enter_context(mock.patch.object(torch.accelerator, "current_stream", _stream))
            stack.enter_context(mock.patch.object(torch, "Generator", _Generators))
            stack.enter_context(mock.patch.object(torch, "autocast", autocast))
            stack.enter_context(_ToGpu())
            yield
    finally:
        conversion.set_overwrite_module_params_on_conversion(before)
