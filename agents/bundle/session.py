"""Run policy.onnx in onnxruntime, with the same face as the numpy evaluator."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Answers, Inputs, PlainPolicy
from quietdial.agents.bundle.graph import ports_in, ports_out

_OURS = {"base_dials": "base", "hidden_out": "hidden", "cell_out": "cell"}


class Session:
    """A graph on one thread.

    Args:
        graph: bytes of policy.onnx, already verified.
        policy: the policy that it was made of.

    Raises:
        BundleError: onnxruntime is not there, or does not take the graph.
    """

    def __init__(self, graph: bytes, policy: PlainPolicy) -> None:
        try:
            import onnxruntime

            errors = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        except ImportError:
            raise BundleError("onnxruntime is not installed; the numpy evaluator is") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._refusals: tuple[type[Exception], ...] = (
            RuntimeError,
            ValueError,
            *(one for one in vars(errors).values() if _is_error(one)),
        )
        self._in = [port.name for port in ports_in(policy)]
        self._out = [port.name for port in ports_out(policy)]
        try:
            self._session: Any = onnxruntime.InferenceSession(
                graph, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._refusals as error:
            raise BundleError(f"policy.onnx: onnxruntime refuses it: {_line(error)}") from None

    def answer(self, inputs: Inputs) -> Answers:
        """Decide for a batch (`BundleError`: the inputs are not those of the graph)."""
        feed = {name: getattr(inputs, _OURS.get(name, name)) for name in self._in}
        try:
            found = self._session.run(self._out, feed)
        except self._refusals as error:
            raise BundleError(f"policy.onnx: {_line(error)}") from None
        return Answers(
            **{_OURS.get(name, name): part for name, part in zip(self._out, found, strict=True)}
        )


def _is_error(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, Exception)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
