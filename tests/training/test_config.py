import pytest
from toys import config

from lvlib.errors import UserError


def test_what_the_configurations_of_the_papers_use_is_allowed():
    config(optimizer="adamw", betas=[0.9, 0.95], weight_decay=0.01, gradient_clip=1, ema_decay=0.999)
    config(precision="16-mixed")


@pytest.mark.parametrize("name, value, allowed", [
    ("steps", 0, "1 or more"), ("steps", 1.5, "whole number"), ("batch", -4, "1 or more"), ("keep", 0, "1 or more"),
    ("batch", True, "whole number"), ("log_every", 0, "1 or more"), ("checkpoint_every", "often", "whole number"),
    ("workers", -1, "0 or more"), ("seed", -1, "from 0 to"), ("seed", 2**63, "from 0 to"),
    ("learning_rate", 0, "above 0"), ("learning_rate", float("nan"), "above 0"), ("learning_rate", "3e-4", "above 0"),
    ("rate_per_clip", 1, "true or false"), ("rate_per_clip", "yes", "true or false"),
    ("weight_decay", -0.1, "0 or more"), ("gradient_clip", float("inf"), "0 or more"), ("ema_decay", 1.0, "below 1"),
    ("betas", (0.9,), "two numbers"),
    ("betas", (0.9, 1.0), "below 1"), ("betas", 0.9, "two numbers"), ("optimizer", "sgd", "adam, adamw"),
    ("precision", "fp16", "32-true, bf16-mixed, 16-mixed"), ("precision", ["32-true"], "32-true"),
    ("precision", "", "32-true"), ("accumulate", 0, "1 or more"), ("accumulate", 2.0, "whole number"),
])
def test_refused_values(name, value, allowed):
    with pytest.raises(UserError) as caught:
        config(**{name: value})
    message = str(caught.value)
    assert f"training.{name} is {value!r}" in message and allowed in message and "\n" not in message
