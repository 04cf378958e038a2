"""The table of `vit_perception.parameters` on a rclpy node: declared with its ranges, and watched at run time."""

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from ..errors import PerceptionError
from ..parameters import renamed


def declare(node, specs, defaults=None):
    """Declare `specs` on a rclpy node, with ranges that `ros2 param describe` shows and rclpy enforces.

    Args:
        defaults: {name: value} that go before those of `specs`.

    Returns:
        {name: value} as set by files, arguments or defaults.

    Raises:
        rclpy.exceptions.ParameterException: a given value has the wrong type or is out of range.
        PerceptionError: a given name is that of an earlier release.
    """
    problem = renamed(getattr(node, "_parameter_overrides", {}))
    if problem:
        raise PerceptionError(problem)
    values = {}
    for spec in specs:
        default = (defaults or {}).get(spec.name, spec.default)
        values[spec.name] = node.declare_parameter(spec.name, default, _descriptor(spec, default)).value
    return values


def _descriptor(spec, default):
    text = "{} [{}]".format(spec.description, spec.unit) if spec.unit else spec.description
    descriptor = ParameterDescriptor(description=text, read_only=spec.read_only)
    if spec.low is not None and isinstance(default, float):
        span = FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        descriptor.floating_point_range = [span]
    elif spec.low is not None and isinstance(default, int):
        descriptor.integer_range = [IntegerRange(from_value=spec.low, to_value=spec.high)]
    return descriptor


def watch(node, values, check, apply):
    """Check run-time changes as a whole, update `values`, and hand them to `apply` ({name: value}).

    Args:
        values: by name, updated in place. check: check(values to be) -> what is wrong with them, or ''.
    """

    def on_set(parameters):
        changes = {p.name: p.value for p in parameters if p.name in values}  # use_sim_time and the like pass
        problem = check(dict(values, **changes))
        if problem:
            return SetParametersResult(successful=False, reason=problem)
        values.update(changes)
        apply(changes)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)
