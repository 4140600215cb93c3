"""Checkpoints of PyTorch, read without running anything that is in them.

A pickle is a program: its opcodes name functions of any module and call them. Here the opcodes are walked by
an interpreter of our own, for which a global is only a name. It rebuilds plain containers and tensors; an
object of any other class becomes a `Foreign`, a name without content; and a call of anything that is not
known to be harmless refuses the file. No module is imported and nothing is called on behalf of the file.

`checkpoints` finds the pickles in the files and the values of the tensors that they describe.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vid4d.errors import InputError

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


REFUSED = _words(
    """
    _io _pickle _posixsubprocess _socket asyncio bdb cloudpickle code codeop commands ctypes
    dill ftplib http imp importlib io joblib marshal multiprocessing nt os pdb pickle pip pkgutil
    platform posix profile pty pydoc runpy shutil signal site smtplib socket ssl subprocess sys tempfile
    threading timeit trace urllib venv webbrowser
    """
)
"""Modules that no checkpoint needs and that attacks use: naming one is enough to refuse the file."""

OLD_MODULES = {"__builtin__": "builtins", "commands": "subprocess", "copy_reg": "copyreg"}
"""Names of Python 2, which pickles up to protocol 2 use."""

PLAIN_BUILTINS = _words(
    """
    bool bytearray bytes complex dict float frozenset int list long object range set slice str tuple type
    unicode xrange
    """
)

IGNORED_PACKAGES = _words(
    """
    argparse datetime decimal enum fractions lightning lightning_fabric lightning_utilities numbers
    omegaconf pathlib pytorch_lightning typing uuid
    """
)
"""Packages whose classes may be called with arguments in a checkpoint; the result is ignored."""

IGNORED_CALLS = {
    "_operator.getitem",
    "builtins.type",
    "collections.Counter",
    "collections.deque",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "operator.getitem",
    "torch.device",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "types.GenericAlias",
    "types.SimpleNamespace",
}


@dataclass(frozen=True)
class Global:
    """A name in a pickle; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, eq=False)
class Foreign:
    """An object of another class, whose content is ignored."""

    kind: Global


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, by the name under which the file keeps them. dtype: None where they are bytes.

    count: how many numbers. view: how many of them lie before this storage, in older files.
    """

    dtype: torch.dtype | None
    key: str
    count: int
    view: int = 0


@dataclass(frozen=True)
class PickledTensor:
    """A tensor as a pickle describes it; its values lie elsewhere. offset, stride: in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


_DTYPE_NAMES = {str(dtype).removeprefix("torch.") for dtype in DTYPES.values()}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_LITERALS |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
_LITERALS |= {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_PLAIN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,
    "collections.defaultdict": dict,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.set": lambda items=(): set(map(_key, items)),
    "builtins.frozenset": lambda items=(): frozenset(map(_key, items)),
    "builtins.tuple": tuple,
    "builtins.slice": lambda *bounds: bounds,
    "builtins.range": lambda *bounds: bounds,
    "builtins.complex": complex,
    "builtins.bytearray": lambda *_: b"",
    "builtins.object": lambda *_: None,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.nn.parameter.Parameter": lambda tensor=None, *_: tensor,
}


MOST_STEPS = 1_000_000
"""Opcodes of a pickle; the largest published checkpoint has some hundred thousand."""

MARK = object()


class _Machine:
    """Walks the opcodes of one pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, stream: BinaryIO) -> Any:
        """The value that the pickle describes. Leaves the stream behind the pickle."""
        try:
            for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if steps >= MOST_STEPS:
                    raise self._damaged("its pickle is longer than that of any checkpoint")
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._step(opcode.name, argument)
        except InputError:
            raise
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise self._damaged(f"its pickle is broken ({error})") from error
        raise self._damaged("its pickle does not end")

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self.path} is not a whole PyTorch file ({why}): fetch or copy it again")

    def _refused(self, what: object, deed: str = "calls") -> InputError:
        return InputError(
            f"{self.path} {deed} {what}, which no checkpoint needs and which could run anything: "
            "nothing was run; do not open this file elsewhere, and fetch the authors' own"
        )

    # Opcodes

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name == "MARK":
            stack.append(MARK)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "LIST":
            stack.append(self._marked())
        elif name == "DICT":
            stack.append(_paired(self._marked()))
        elif name == "FROZENSET":
            stack.append(frozenset(map(_key, self._marked())))
        elif name == "APPEND":
            item = stack.pop()
            self._extend([item])
        elif name == "APPENDS":
            self._extend(self._marked())
        elif name == "ADDITEMS":
            items = self._marked()
            if not isinstance(stack[-1], Foreign):
                stack[-1].update(map(_key, items))
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._set(_paired([key, value]))
        elif name == "SETITEMS":
            self._set(_paired(self._marked()))
        elif name == "GLOBAL":
            stack.append(self._named(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._named(module, attribute))
        elif name in ("BINPERSID", "PERSID"):
            stack.append(self._stored(stack.pop() if name == "BINPERSID" else argument))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(self._called(stack.pop(), arguments))
        elif name == "INST":
            stack.append(self._called(self._named(*argument.split(" ", 1)), tuple(self._marked())))
        elif name == "OBJ":
            kind, *rest = self._marked()
            stack.append(self._called(kind, tuple(rest)))
        elif name in ("NEWOBJ", "NEWOBJ_EX"):
            del stack[-(1 if name == "NEWOBJ" else 2) :]  # arguments
            stack.append(self._new_object(stack.pop()))
        elif name == "BUILD":
            stack.pop()  # the state
            if isinstance(stack[-1], Global):
                raise self._refused(stack[-1], "changes")
        else:
            raise self._refused(f"the opcode {name}", "uses")

    def _marked(self) -> list[Any]:
        """Pops the items above the last mark, and the mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Foreign):
            self.stack[-1].extend(items)

    def _set(self, items: dict[Any, Any]) -> None:
        if not isinstance(self.stack[-1], Foreign):
            self.stack[-1].update(items)

    # Names, and what is done with them

    def _named(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._damaged("a name in its pickle is no text")
        named = Global(OLD_MODULES.get(module, module), name)
        root = named.module.partition(".")[0]
        inside = name.split(".") if "." in name else []  # pathlib.os.system is os.system
        if not REFUSED.isdisjoint([root, *inside]) or (root == "builtins" and name not in PLAIN_BUILTINS):
            raise self._refused(named, "names")
        return named

    def _new_object(self, kind: Any) -> Any:
        """A new object of a class, without calling it."""
        if isinstance(kind, Foreign):
            raise self._refused(kind.kind)
        if not isinstance(kind, Global):
            raise self._damaged("its pickle makes objects of something that is no class")
        plain = _PLAIN.get(str(kind))
        return plain() if plain is not None else Foreign(kind)

    def _called(self, what: Any, arguments: Any) -> Any:
        """Result of a call, where that is a tensor or a plain container."""
        if isinstance(what, Foreign):
            raise self._refused(what.kind)
        if not isinstance(what, Global) or not isinstance(arguments, tuple):
            raise self._damaged("its pickle calls something that is no function")
        name = str(what)
        if name in _PLAIN:
            return _PLAIN[name](*arguments) if name != "collections.defaultdict" else {}
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            return self._tensor(*arguments[:4])
        if name == "torch._utils._rebuild_tensor_v3":
            storage, offset, shape, stride = arguments[:4]
            return self._tensor(storage, offset, shape, stride, dtype=arguments[6])
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return arguments[0]
        if name == "torch._tensor._rebuild_from_type_v2":
            return self._called(arguments[0], arguments[2])
        if name == "_codecs.encode":
            return arguments[0].encode("latin1")
        if name in ("copyreg._reconstructor", "copyreg.__newobj__"):
            return self._new_object(arguments[0])
        if name in IGNORED_CALLS or what.module.partition(".")[0] in IGNORED_PACKAGES:
            return Foreign(what)
        raise self._refused(what)

    def _stored(self, identity: Any) -> Any:
        """A storage, or the class of a model that was saved whole."""
        if not isinstance(identity, tuple) or not identity:
            raise self._damaged("a storage without description")
        if identity[0] == "module":
            return identity[1]
        _, kind, key, _, count, *view = identity
        if identity[0] != "storage" or not isinstance(kind, Global):
            raise self._damaged("a storage of unknown kind")
        dtype = DTYPES.get(kind.name)
        if dtype is None and kind.name != "UntypedStorage":
            raise InputError(f"{self.path} holds numbers of a type that is not known here ({kind})")
        start = view[0][1] if view and view[0] is not None else 0
        storage = Storage(dtype, str(key), _whole(count), _whole(start))
        self.storages[storage.key] = storage
        return storage

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Global | None = None
    ) -> PickledTensor:
        if not isinstance(storage, Storage):
            raise self._damaged("a tensor without storage")
        kind = storage.dtype
        if dtype is not None:
            kind = getattr(torch, dtype.name) if dtype.name in _DTYPE_NAMES else None
        if kind is None:
            raise InputError(f"{self.path} holds a tensor of a type that is not known here ({dtype})")
        if len(shape) != len(stride):
            raise self._damaged("a tensor whose shape and strides disagree")
        sizes, steps = tuple(map(_whole, shape)), tuple(map(_whole, stride))
        return PickledTensor(storage, kind, _whole(offset) + storage.view, sizes, steps)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _paired(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def _key(value: Any) -> Any:
    """A key as it is; nested ones are refused, for to hash those can take for ever."""
    parts = value if isinstance(value, tuple) else (value,)
    if any(isinstance(part, tuple | frozenset | dict | list | set) for part in parts):
        raise ValueError("a key of keys")
    return value


def unpickled(stream: BinaryIO, path: Path) -> tuple[Any, dict[str, Storage]]:
    """The value of the pickle at which the stream stands, and all storages that it names, by their keys.

    Leaves the stream behind the pickle. path: the file, for messages. Tensors become `PickledTensor`, objects
    of other classes `Foreign`. Raises InputError for a pickle that is broken or that could run code.
    """
    machine = _Machine(path)
    return machine.run(stream), machine.storages
