"""numpy and pandas by content, without importing either.

Their own pickles tell memory order, block layout and the version of the library; here only dtype, shape and values
count, so a key survives an upgrade and does not depend on how a table was put together.

Covers: arrays, scalars, dtypes, Index, Series, DataFrame, extension arrays, as one level of `Form`; and what another
library writes down with an address in it.
Does not cover: subclasses of arrays other than memmap, which go by what they tell pickle (values.canonical).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lazygraph.values.forms import SIZE, Form, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BY_BYTES = frozenset("biufcmMSU")
"""Kinds of dtype whose values are their bytes."""
_PADDED = frozenset("gG")
"""Long doubles: some of their bytes are garbage."""
_STEP = 1 << 22
"""Bytes of an array that are made contiguous at a time."""


def array_form(value: Any) -> Form | None:
    """Return the form of something of numpy or pandas; None for everything else."""
    for cls in type(value).__mro__:
        package, _, _ = cls.__module__.partition(".")
        form = _FORMS.get((package, cls.__name__))
        if form is not None and (cls is type(value) or (package, cls.__name__) not in _EXACT):
            return form(value)
    return None


# -- numpy -----------------------------------------------------------------------------------------


def _array(value: Any) -> Form:
    dtype = value.dtype
    head = words([_dtype_text(dtype), ",".join(map(str, value.shape))])
    text = f"array of {dtype}, shape {tuple(value.shape)}"
    if dtype.names:
        parts = [value[name] for name in dtype.names]
        return Form("array", words(dtype.names) + head, parts, labels=dtype.names, text=text)
    if dtype.kind in _BY_BYTES and dtype.char not in _PADDED:
        return Form("array", head + _data_of(value), text=text)
    flat = value.reshape(-1)
    items = [str(item) for item in flat] if dtype.char in _PADDED else flat.tolist()
    return Form("array", head, items, text=text)


def _dtype_text(dtype: Any) -> str:
    # The short text of what has fields, is an array itself, or knows a missing value says nothing of them.
    return repr(dtype) if dtype.names or dtype.subdtype or dtype.kind == "T" else str(dtype.str)


def _data_of(value: Any) -> bytes:
    """Return the digest of an array's values in C order, whatever its layout."""
    found = blake2b(digest_size=SIZE)
    if not value.size:
        return found.digest()
    if value.flags.c_contiguous:
        found.update(_raw(value))
        return found.digest()
    rows = max(1, _STEP * len(value) // value.nbytes)
    for at in range(0, len(value), rows):
        found.update(_raw(value[at : at + rows].copy(order="C")))
    return found.digest()


def _raw(contiguous: Any) -> Any:
    return contiguous.reshape(-1).view("u1").data


def _scalar(value: Any) -> Form:
    return Form("scalar", b"", (value.__array__(),), labels=("value",), text=f"{type(value).__name__} {value!s:.40}")


def _dtype(value: Any) -> Form:
    return Form("dtype", words([_dtype_text(value)]), text=f"dtype {value}")


# -- pandas ----------------------------------------------------------------------------------------


def _frame(value: Any) -> Form:
    columns = [_values(value.iloc[:, at]) for at in range(value.shape[1])]
    labels = [
        "columns",
        "index",
        "attrs",
        *_subclass_labels(value),
        *(f"column {name!s:.40}" for name in value.columns),
    ]
    parts = [value.columns, value.index, value.attrs, *_subclass_parts(value), *columns]
    labels.extend(f"column {name!s:.40}" for name in value.columns)
    return Form("DataFrame", b"", parts, labels=labels, text=f"DataFrame of shape {value.shape}")


def _series(value: Any) -> Form:
    labels = ["name", "index", "attrs", "values", *_subclass_labels(value)]
    parts = [value.name, value.index, value.attrs, _values(value), *_subclass_parts(value)]
    return Form("Series", b"", parts, labels=labels, text=f"Series of {len(value)}")


def _subclass_labels(value: Any) -> list[str]:
    if type(value).__module__.partition(".")[0] == "pandas":
        return []
    return ["class", *(f"attribute {name}" for name in value._metadata)]


def _subclass_parts(value: Any) -> list[Any]:
    if type(value).__module__.partition(".")[0] == "pandas":
        return []
    return [type(value), *(getattr(value, name, None) for name in value._metadata)]


def _index(value: Any) -> Form:
    parts = [list(value.names), getattr(value, "freqstr", None), _values(value)]
    text = f"{type(value).__name__} of {len(value)}"
    return Form(type(value).__name__, b"", parts, labels=("names", "freq", "values"), text=text)


def _range_index(value: Any) -> Form:
    bounds = words(map(str, (value.start, value.stop, value.step)))
    return Form("RangeIndex", bounds, (list(value.names),), labels=("names",), text=f"RangeIndex of {len(value)}")


def _multi_index(value: Any) -> Form:
    levels = [_values(value.get_level_values(at)) for at in range(value.nlevels)]
    labels = ["names", *(f"level {at}" for at in range(value.nlevels))]
    return Form("MultiIndex", b"", [list(value.names), *levels], labels=labels, text=f"MultiIndex of {len(value)}")


def _values(value: Any) -> Any:
    """Return what holds the values of a Series or Index: an array, or an extension array."""
    return value.to_numpy() if type(value.dtype).__module__.partition(".")[0] == "numpy" else value.array


def _extension(value: Any) -> Form:
    # As objects: what stands under the mask of a masked array, or how a text is stored, is nobody's business.
    data = words([type(value).__name__, str(value.dtype)])
    text = f"{type(value).__name__} of {len(value)}"
    return Form("values", data, (value.to_numpy(dtype=object),), labels=("values",), text=text)


def _categorical(value: Any) -> Form:
    labels = ("codes", "categories", "ordered")
    return Form("Categorical", b"", (value.codes, value.categories, value.ordered), labels=labels)


def _instants(value: Any) -> Form:
    text = f"{type(value).__name__} of {len(value)}"
    return Form("values", words([type(value).__name__, str(value.dtype)]), (value.asi8,), labels=("values",), text=text)


def _missing(_: Any) -> Form:
    return Form("NA", text="NA")


# -- others ----------------------------------------------------------------------------------------


def _decorator(value: Any) -> Form:
    # pydantic notes with each validator the class it is for, by an address.
    labels = ("name", "function", "info")
    return Form("validator", b"", (value.cls_var_name, value.func, value.info), labels=labels)


_FORMS: Mapping[tuple[str, str], Callable[[Any], Form]] = {
    ("numpy", "ndarray"): _array,
    ("numpy", "memmap"): _array,
    ("numpy", "generic"): _scalar,
    ("numpy", "dtype"): _dtype,
    ("pandas", "DataFrame"): _frame,
    ("pandas", "Series"): _series,
    ("pandas", "RangeIndex"): _range_index,
    ("pandas", "MultiIndex"): _multi_index,
    ("pandas", "Index"): _index,
    ("pandas", "Categorical"): _categorical,
    ("pandas", "DatetimeArray"): _instants,
    ("pandas", "TimedeltaArray"): _instants,
    ("pandas", "PeriodArray"): _instants,
    ("pandas", "ExtensionArray"): _extension,
    ("pandas", "NAType"): _missing,
    ("pydantic", "Decorator"): _decorator,
}
"""By package and class, the nearest base first."""
_EXACT = frozenset({("numpy", "ndarray"), ("numpy", "memmap")})
"""A subclass of these has state of its own, which it tells pickle."""
