from pathlib import Path

import yaml
from pydantic import BaseModel

from pacsnode.config.load import load
from pacsnode.config.model import Configuration, Modality

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def keys_of(model: type[BaseModel]) -> dict[str, object]:
    keys: dict[str, object] = {}
    for name, field in model.model_fields.items():
        section = field.annotation
        is_section = isinstance(section, type) and issubclass(section, BaseModel)
        keys[name] = keys_of(section) if is_section else None
    return keys


def with_modality(text: str) -> str:
    """The file with its commented-out modality in place of the empty table."""
    head, tail = text.replace("modalities: {}\n", "").split("#modalities:\n")
    block = [line[1:] for line in tail.splitlines() if line.startswith("#")]
    rest = [line for line in tail.splitlines() if not line.startswith("#")]
    return "\n".join([head, "modalities:", *block, *rest])


def test_the_example_loads_and_equals_the_defaults() -> None:
    defaults = Configuration.model_validate({}, context={"folder": EXAMPLE.parent})
    assert load(EXAMPLE) == defaults


def test_no_key_of_the_model_is_missing_in_the_example() -> None:
    written = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    for name, section in keys_of(Configuration).items():
        assert name in written
        if isinstance(section, dict):
            assert set(written[name]) == set(section)


def test_the_modality_in_the_example_has_every_key_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(with_modality(EXAMPLE.read_text("utf-8")), "utf-8")
    modality = load(path).modalities["ARCHIVE"]
    assert modality == Modality(ae_title="ARCHIVE", host="10.0.0.5")
    written = yaml.safe_load(path.read_text("utf-8"))["modalities"]["ARCHIVE"]
    assert set(written) == set(Modality.model_fields)
