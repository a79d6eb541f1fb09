"""The text of `inspect`: it keeps to a terminal's width, and shortens nothing where there is none."""

from typing import Any

import pytest

from milepost.report.inspection import described


def held(name: str) -> dict[str, Any]:
    tensor = {"group": "state_dict", "name": name, "role": "weights", "dtype": "float32", "shape": [4, 4], "bytes": 64}
    return {
        "path": "/runs/a.pt",
        "format": "torch_zip",
        "step": None,
        "step_source": None,
        "tensors": [tensor],
        "facts": {"epoch": 3, "a_rather_long_name_of_a_setting" * 3: "text " * 40, **{f"k{n}": n for n in range(30)}},
        "files_beside": {"config.json": {"architectures": ["A", "B"], "loss": 0.123456789}},
        "adapter": {"kind": "LORA", "base": "bert", "config": {"r": 2, "target_modules": ["query", "value"]}},
        "foreign": ["x.Y"],
        "notes": ["a note of many words that goes on and on, " * 5],
    }


@pytest.mark.parametrize("width", [60, 80, 100])
def test_every_line_fits_the_terminal(width: int) -> None:
    lines = described(held("encoder.layers.11.self_attention.in_proj_weight" * 3), width)
    assert max(map(len, lines)) <= width
    assert any("…" in line for line in lines)


def test_without_a_terminal_nothing_is_shortened() -> None:
    name = "encoder.layers.11.self_attention.in_proj_weight" * 3
    lines = described(held(name))
    assert any(f"state_dict: {name}  weights" in line for line in lines)
    assert not any("…" in line for line in lines)


def test_numbers_settings_and_the_adapter_have_sections() -> None:
    lines = described(held("w"), 100)
    assert "adapter LORA, of the base model bert (r 2, target_modules query, value)" in lines
    assert lines[lines.index("in the file:") + 1].split() == ["epoch", "3"]
    assert "  and 12 more: --json has all" in lines
    assert lines[lines.index("config.json:") + 1 :][:2] == ["  architectures  A, B", "  loss           0.123457"]
