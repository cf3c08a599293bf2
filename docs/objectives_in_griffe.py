"""Tells the reference's parser, griffe, that ``@objective`` makes dataclasses."""

from __future__ import annotations

from typing import Any

from griffe import Class, Decorator, Expr, ExprName, Extension


class Objectives(Extension):
    """Treats ``@objective`` as ``@dataclass``."""

    def on_class_instance(self, *, cls: Class, **kwargs: Any) -> None:  # noqa: ARG002
        """Add the decorator that griffe knows."""
        for decorator in list(cls.decorators):
            if isinstance(decorator.value, Expr) and decorator.value.canonical_path.endswith("objective"):
                known = ExprName("dataclass", parent=ExprName("dataclasses"))
                cls.decorators.append(Decorator(known, lineno=decorator.lineno, endlineno=decorator.endlineno))
