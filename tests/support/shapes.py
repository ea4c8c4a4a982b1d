"""The type checker of the test run: shapes and types of arrays; of other arguments tests may give stand-ins."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def has_array(annotation: Any) -> bool:
    """Whether an array with a shape stands anywhere in an annotation."""
    if isinstance(annotation, list | tuple):  # the parameters of a Callable
        return any(map(has_array, annotation))
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(map(has_array, get_args(annotation)))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and results of a function that are annotated with arrays."""
    if not inspect.isfunction(function):
        return function
    found = {name: of for name, of in function.__annotations__.items() if has_array(of)}
    if not found:
        return function
    function.__annotations__ = found
    return beartype(function)
