"""What is changed: one place of a module's source text, found by its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_OPPOSITES: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Lt: ("<=", ">"),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<"),
    ast.GtE: (">", "<"),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
    ast.Add: ("-",),
    ast.Sub: ("+",),
    ast.Mult: ("//",),
    ast.Div: ("*",),
    ast.FloorDiv: ("*",),
    ast.BitOr: ("&",),
    ast.BitAnd: ("|",),
}


class Mutant(NamedTuple):
    """One change.

    Attributes:
        line: number of the line.
        before: the line, without the white space around it.
        change: what became of what.
        source: the module's text with the change in it.
    """

    line: int
    before: str
    change: str
    source: str


class _Finder(ast.NodeVisitor):
    """Collects, for each place, the text that takes its place."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[tuple[ast.AST, str]] = []

    def text(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.source, node) or ""

    def add(self, node: ast.AST, new: str) -> None:
        self.found.append((node, new))

    # What is not run, or is for people to read, is left alone.

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Pass over its annotation."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Pass over it: its parts have no places of their own before Python 3.12."""

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add(node, "pass")

    def visit_If(self, node: ast.If) -> None:
        if self.text(node.test) == "TYPE_CHECKING":
            return
        if not isinstance(node.test, (ast.Compare, ast.UnaryOp)):
            self.add(node.test, f"not ({self.text(node.test)})")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)

    # What is changed.

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            left, right = self.text(node.left), self.text(node.comparators[0])
            for new in _OPPOSITES.get(type(node.ops[0]), ()):
                self.add(node, f"{left} {new} {right}")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        for new in _OPPOSITES.get(type(node.op), ()):
            self.add(node, f"{self.text(node.left)} {new} {self.text(node.right)}")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = " or " if isinstance(node.op, ast.And) else " and "
        self.add(node, word.join(f"({self.text(value)})" for value in node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.add(node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.add(
            node,
            f"({self.text(node.orelse)} if {self.text(node.test)} else {self.text(node.body)})",
        )
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, str(not value))
        elif isinstance(value, (int, float)):
            self.add(node, repr(value + 1))
        elif isinstance(value, str) and " " in value:
            return  # prose: for people, not for tests
        elif isinstance(value, (str, bytes)):
            other = "XX" if isinstance(value, str) else b"XX"
            self.add(node, repr(value + other))  # type: ignore[operator]

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and self.text(node.value) != "None":
            self.add(node, "return None")
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if self.text(node.value) != "None":
            self.add(node.value, "None")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            self.add(node, "pass")
        self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "break")


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield every change of a module, in the order of its lines."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    lines = source.splitlines(keepends=True)
    for node, new in sorted(finder.found, key=lambda found: found[0].lineno):  # type: ignore[attr-defined]
        begin = _offset(lines, node.lineno, node.col_offset)  # type: ignore[attr-defined]
        end = _offset(lines, node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        old = source.encode()[begin:end].decode()
        changed = (source.encode()[:begin] + new.encode() + source.encode()[end:]).decode()
        words = f"{' '.join(old.split())} -> {' '.join(new.split())}"
        yield Mutant(node.lineno, lines[node.lineno - 1].strip(), words, changed)  # type: ignore[attr-defined]


def _offset(lines: list[str], line: int, column: int) -> int:
    return sum(len(text.encode()) for text in lines[: line - 1]) + column
