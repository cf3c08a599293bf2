"""What the reference's parser, griffe, does not know of this package."""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Decorator, Expr, ExprName, Extension, Object


class Optvis(Extension):
    """Treats ``@objective`` as ``@dataclass``, and code after ``::`` as Markdown does."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:  # noqa: ARG002
        """Remove the ``::`` before an indented block of code."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^::$", "", obj.docstring.value, flags=re.MULTILINE)

    def on_class_instance(self, *, cls: Class, **kwargs: Any) -> None:  # noqa: ARG002
        """Add the decorator that griffe knows."""
        for decorator in list(cls.decorators):
            if isinstance(decorator.value, Expr) and decorator.value.canonical_path.endswith("objective"):
                known = ExprName("dataclass", parent=ExprName("dataclasses"))
                cls.decorators.append(Decorator(known, lineno=decorator.lineno, endlineno=decorator.endlineno))
