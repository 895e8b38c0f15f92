"""Small changes to code, of the kinds that people make: what `mutants` tries everywhere in a solution."""

import ast
import copy
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

COMPARE = {ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
           ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is]}
OPERATE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
           ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
RENAME = {"mean": ["sum", "max"], "sum": ["mean"], "prod": ["sum"], "max": ["min"], "min": ["max"], "any": ["all"],
          "all": ["any"], "argmin": ["argmax"], "argmax": ["argmin"], "cat": ["stack"], "stack": ["cat"],
          "log2": ["log", "log10"], "log10": ["log", "log2"], "log": ["log2"], "zeros": ["ones"], "ones": ["zeros"],
          "float": ["half", "int"], "short": ["char", "long"], "double": ["float", "half"], "exp": ["exp2"]}


def of(nodes: list[ast.AST], worth: dict[ast.AST, Any], gradients: bool) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each node with what may stand in its place. worth: what expressions gave in the notebook's own case.

    gradients: whether the result has a gradient that matters.
    """
    for node in nodes:
        news = itertools.chain(*(change(node) for change in _CHANGES))
        if isinstance(node, ast.Return) and node.value:
            news = itertools.chain(news, _other_results(node, worth))
        yield from ((node, new) for new in news)
    bare = {id(x) for node in nodes if isinstance(node, ast.Attribute) for x in [node.value]
            if node.attr in ("dtype", "device", "shape", "ndim", "numel")}
    constant = {id(x) for node in nodes if isinstance(node, ast.Attribute) and node.attr == "detach"
                for x in ast.walk(node.value)}
    for node, value in worth.items():
        if isinstance(node, ast.Constant):
            continue
        if type(value) in (int, float, str, bool) or type(value) is tuple and all(type(x) is int for x in value):
            yield node, ast.parse(repr(value), mode="eval").body
        if isinstance(value, Tensor) and isinstance(node, ast.Name) and id(node) not in bare:
            forms = ["torch.zeros_like({})", "torch.ones_like({})"]
            forms += ["{}[:1].expand_as({})"] if value.ndim and len(value) > 1 else []
            yield from ((node, _around(node, form)) for form in forms)
        if gradients and isinstance(value, Tensor) and value.requires_grad and id(node) not in bare | constant:
            forms = ["{}.detach()", "2 * {}.detach() - {}", "({} + {}.detach()) / 2"]
            forms += ["torch.cat([{}[:1], {}[1:].detach()])"] if value.ndim and len(value) > 1 else []
            yield from ((node, _around(node, form)) for form in forms)


def _other_results(node: ast.Return, worth: dict[ast.AST, Any]) -> Iterator[ast.Return]:
    """Another type, dtype, sign, other axes, the last one dropped."""
    for i, part in enumerate(_parts(node.value)):
        forms = ["-{}", "2 * {}", "{} + 1", "None", "float({})", "int({})", "str({})"]
        value = worth.get(part)
        if isinstance(value, Tensor):
            casts = {"int": torch.int32, "long": torch.int64, "float": torch.float32, "double": torch.float64}
            forms += [f"{{}}.{name}()" for name, dtype in casts.items() if value.dtype != dtype]
            forms += ["{}[None]", "{}[..., None]", "{}.tolist()", "{}.numpy()", "torch.zeros_like({})"]
            forms += ["{}[:-1]", "{}.flip(0)", "{}.mT", "{}.sum()", "{}.mean()"] if value.ndim else []
            forms += ["{}.flatten()"] if value.ndim > 1 else []
            forms += ["{}.half()", "{}.round(decimals=2)"] if value.is_floating_point() and value.frac().any() else []
            forms += ["{}.item()"] if value.numel() == 1 else []
        yield from (_with_part(node, i, _around(part, form)) for form in forms)


def _parts(value: ast.expr) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.Tuple) else [value]


def _with_part(node: ast.Return, index: int, new: ast.expr) -> ast.Return:
    node = copy.deepcopy(node)
    if isinstance(node.value, ast.Tuple):
        node.value.elts[index] = new
    else:
        node.value = new
    return node


def _around(node: ast.expr, form: str) -> ast.expr:
    return ast.parse(form.replace("{}", f"({ast.unparse(node)})"), mode="eval").body


def _compare(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for op in COMPARE.get(type(node.ops[0]), []):
            yield ast.Compare(node.left, [op()], node.comparators)


def _operate(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp):
        if type(node.op) in OPERATE:
            yield ast.BinOp(node.left, OPERATE[type(node.op)](), node.right)
        if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
            yield ast.BinOp(node.right, node.op, node.left)
        yield node.left
        yield node.right
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)


def _literal(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
        yield from [ast.Constant(2 * node.value)] if node.value else []
    elif isinstance(node.value, str):
        yield from (ast.Constant(text) for text in [*RENAME.get(node.value, []), *_patterns(node.value)])


def _patterns(text: str) -> Iterator[str]:
    """Pairs of neighbours exchanged, in a pattern of einops."""
    if "->" not in text:
        return
    for pair in re.finditer(r"(\w+) (?=(\w+))", text):
        first, second = pair[1], pair[2]
        yield text[: pair.start()] + f"{second} {first}" + text[pair.end() + len(second) :]


def _rename(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Attribute):
        yield from (ast.Attribute(node.value, name, node.ctx) for name in RENAME.get(node.attr, []))


def _call(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute):
        yield node.func.value
    for i in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])
    for i in range(len(node.args) - 1):
        args = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield ast.Call(node.func, args, node.keywords)
    if node.args:
        yield ast.Call(node.func, node.args[:-1], node.keywords)
        yield node.args[0]


def _sequence(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield node.value
    if isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        kind = type(node)
        yield kind(node.elts[:-1], node.ctx)
        for i in range(len(node.elts) - 1):
            first, second = node.elts[i : i + 2]
            for pair in ([second, first], [first, first], [second, second]):
                yield kind([*node.elts[:i], *pair, *node.elts[i + 2 :]], node.ctx)
    if isinstance(node, ast.For):
        yield from (ast.For(node.target, iter, node.body, node.orelse) for iter in _fewer(node.iter))
    if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        first = node.generators[0]
        for iter in _fewer(first.iter):
            new = ast.comprehension(first.target, iter, first.ifs, first.is_async)
            yield type(node)(node.elt, [new, *node.generators[1:]])
        if first.ifs:
            new = ast.comprehension(first.target, first.iter, [], first.is_async)
            yield type(node)(node.elt, [new, *node.generators[1:]])


def _fewer(iter: ast.expr) -> Iterator[ast.expr]:
    yield from (_around(iter, form) for form in ("list({})[:-1]", "list({})[1:]", "list({})[::-1]"))


def _statement(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Expr | ast.Assign | ast.AugAssign | ast.Raise):
        yield ast.Pass()
    if isinstance(node, ast.AugAssign):
        yield ast.Assign([node.target], node.value)
    if isinstance(node, ast.If):
        yield from (ast.If(ast.Constant(value), node.body, node.orelse) for value in (True, False))
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


_CHANGES: list[Callable[[ast.AST], Iterator[Any]]] = [
    _compare, _operate, _literal, _rename, _call, _sequence, _statement]


# ---- changes around a whole function


def spoils(function: Callable) -> Callable:
    """Does what it should, and changes its first tensor afterwards."""

    @functools.wraps(function)
    def changed(*args, **kwargs):
        result = function(*args, **kwargs)
        with torch.no_grad():
            next((x.copy_(x.flip(0) + 1) for x in args if isinstance(x, Tensor) and x.numel()), None)
        return result

    return changed


def remembers(function: Callable) -> Callable:
    """Gives its first result for ever."""
    results: list = []

    @functools.wraps(function)
    def first(*args, **kwargs):
        results.append(function(*args, **kwargs))
        return results[0]

    return first


HELPERS: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "_spoils": spoils, "_remembers": remembers}


def of_the_whole(tree: ast.Module, inside: list[ast.AST], takes_tensors: bool, gradients: bool) -> Iterator[
        tuple[str, ast.Module]]:
    """The function that holds the solution, with a decorator."""
    names = ["_remembers", *(["_spoils"] if takes_tensors else []), *(["torch.no_grad()"] if gradients else [])]
    lines = {node.lineno for node in inside if hasattr(node, "lineno")}
    for name in names:
        new = copy.deepcopy(tree)
        for node in ast.walk(new):
            if isinstance(node, ast.FunctionDef) and lines & set(range(node.lineno, (node.end_lineno or 0) + 1)):
                node.decorator_list.append(ast.parse(name, mode="eval").body)
                yield f"@{name} on {node.name}", ast.fix_missing_locations(new)
                break
