import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from appliance.config import Config, load_config
from appliance.documents import Section, parse_document
from appliance.errors import ConfigError
from appliance.links.settings import MqttSettings, TlsSettings
from appliance.wiring import mqtt_settings

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLE, PRODUCTS_EXAMPLE, TLS_EXAMPLE = (
    part.split("```")[0] for part in DOC.read_text(encoding="utf-8").split("```yaml\n")[1:]
)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_document(Path("station.yaml"), text.encode()).into(Config)
    return str(caught.value)


def link_of(text: str) -> MqttSettings:
    document = parse_document(Path("/etc/station.yaml"), text.encode())
    settings = mqtt_settings(document.into(Config), document)
    assert settings is not None
    return settings


def test_the_example_in_the_documentation_loads(tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(EXAMPLE, encoding="utf-8")
    config, document = load_config(file)
    assert config.device.device_id == "press7-top"
    assert config.bundle == tmp_path / "bundles/boards.bundle"
    assert config.ledger.path == Path("/var/lib/inspection/ledger.sqlite")
    assert config.cameras["top"]["type"] == "folder"
    assert len(document.digest) == 64
    settings = mqtt_settings(config, document)
    assert settings is not None
    assert settings.device_id == "press7-top"
    assert set(settings.model_fields_set) == set(MqttSettings.model_fields)


def test_the_example_with_client_certificates_loads_in_the_examples_place() -> None:
    settings = link_of(re.sub(r"(?ms)^mqtt:.*?(?=^\S)", TLS_EXAMPLE, EXAMPLE))
    assert settings.tls is not None
    assert settings.tls.cert_file == Path("/etc/inspection/tls/aoi1.crt")
    assert settings.username is None


def test_the_example_shows_and_the_table_explains_every_key() -> None:
    text = DOC.read_text(encoding="utf-8")
    words = {part for word in re.findall(r"`([a-z_.<>]+)`", text) for part in word.split(".")}
    schemas = [Config.model_json_schema(), MqttSettings.model_json_schema()]
    nodes = [node for schema in schemas for node in (schema, *schema["$defs"].values())]
    keys = {key for node in nodes for key in node.get("properties", {})}
    assert keys >= set(TlsSettings.model_fields)
    assert keys - words == set()
    assert keys - set(re.findall(r"^\s*([a-z_]+):", EXAMPLE + PRODUCTS_EXAMPLE, flags=re.MULTILINE)) == set()


def without_optional(section: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Leave out every key that has a default."""
    required: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.is_required():
            kind, value = field.annotation, section[field.alias or name]
            is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
            required[field.alias or name] = without_optional(value, kind) if is_section else value
    return required


def test_the_table_names_the_defaults_in_force() -> None:
    example = yaml.safe_load(EXAMPLE)
    required = without_optional(example, Config) | {key: example[key] for key in ("bundle", "recipe")}
    config = parse_document(Path("station.yaml"), yaml.safe_dump(required).encode()).into(Config)
    table = dict(re.findall(r"(?m)^\| `([a-z_.]+)` \|[^|]*\| ([^|]+?) \|", DOC.read_text(encoding="utf-8")))
    in_force: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json", by_alias=True).items():
        if isinstance(value, dict):
            given = required.get(name, {})
            in_force |= {f"{name}.{key}": default for key, default in value.items() if key not in given}
        elif name not in required:
            in_force[name] = value
    assert {key: in_force.pop(key) for key in ("mqtt", "products", "product")} == dict.fromkeys(
        ("mqtt", "products", "product")
    )
    assert {key: yaml.safe_load(table[key].strip("`")) for key in in_force} == in_force
    link = link_of(re.sub(r"(?ms)^mqtt:.*?(?=^\S)", "mqtt: {}\n", EXAMPLE)).model_dump(
        exclude=set(config.device.model_dump())
    )
    assert {key: table[f"mqtt.{key}"].strip("`") for key in link} == {
        key: "none" if value is None else str(value) for key, value in link.items()
    }


def with_products(text: str = PRODUCTS_EXAMPLE) -> str:
    """The example with several products in place of one."""
    return re.sub(r"(?m)^(bundle|recipe): .*\n", "", EXAMPLE) + text


def test_a_station_has_one_product_or_several() -> None:
    several = parse_document(Path("/etc/station.yaml"), with_products().encode()).into(Config)
    assert several.product == "board-a"
    files = several.product_files()
    assert list(files) == ["board-a", "board-b"]
    assert files["board-b"].recipe == Path("/etc/recipes/board_b.yaml")
    one = parse_document(Path("/etc/station.yaml"), EXAMPLE.encode()).into(Config).product_files()
    assert [(name, each.bundle) for name, each in one.items()] == [("", Path("/etc/bundles/boards.bundle"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (EXAMPLE + PRODUCTS_EXAMPLE, "has `bundle`, `recipe`, `products`, `product`; name `bundle`"),
        (with_products(""), "the file has no product; name `bundle` and `recipe` for one product, or `products`"),
        (with_products(PRODUCTS_EXAMPLE.replace("product: board-a", "")), "the file has `products`; name"),
        (with_products("product: board-a\n"), "the file has `product`; name"),
        (with_products() + "bundle: x.bundle\n", "the file has `bundle`, `products`, `product`; name"),
        (with_products("bundle: x.bundle\n"), "the file has `bundle`; name"),
        (with_products(PRODUCTS_EXAMPLE.replace("product: board-a", "product: board-c")),
         "`product` is board-c, but `products` has board-a, board-b; name one of these"),
        (with_products("products: {}\nproduct: a\n"), "products: "),
        (with_products(PRODUCTS_EXAMPLE.replace("bundle:", "bundel:")), "unknown key `bundel`; did you mean `bundle`"),
        (with_products(PRODUCTS_EXAMPLE.replace("board-b", "Board B")), "products.Board B"),
    ],
)  # fmt: skip
def test_a_mix_of_one_product_and_several_is_refused_with_a_remedy(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("quota_mb: 20000", "quota_gb: 20", "images.quota_gb: unknown key `quota_gb`; did you mean `quota_mb`"),
        ("threads: 2", "threads: two", "runtime.threads: expected a valid integer, got 'two'"),
        ("type: folder", "kind: folder", "cameras.top: the key `type` is missing"),
        ("threads: 2", "threads: 65", "runtime.threads: expected less than or equal to 64"),
        ("log_level: info", "log_level: verbose", "log_level: expected 'debug', 'info'"),
        ("queue_size: 4", "queue_size: 0", "queue_size: expected greater than or equal to 1"),
        ("device_id: press7-top", "device_id: press/7", "device.device_id: String should match pattern"),
        ("max_capture_delay_ms", "max_capture_delay_s", "did you mean `max_capture_delay_ms` (in milliseconds)?"),
        ("vi.config/1", "vi.config/2", "schema: expected 'vi.config/1'"),
    ],
)
def test_a_mistake_is_reported_with_its_line(old: str, new: str, words: str) -> None:
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if new in row)
    message = refusal(text)
    assert words in message
    assert abs(int(message.split(":")[1]) - line) <= 1  # a missing key is reported at its section


@pytest.mark.parametrize(
    ("deleted", "section", "words"),
    [
        ("cert_file: .*", "mqtt.tls", "key_file without cert_file does nothing; add cert_file, or delete key_file"),
        ("username: .*", "mqtt", "password_file without username does nothing; add username, or delete password_file"),
    ],
)
def test_half_of_a_credential_is_refused(deleted: str, section: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        link_of(re.sub(rf"(?m)^ +{deleted}\n", "", EXAMPLE))
    line = EXAMPLE.splitlines().index(f"{'  ' * section.count('.')}{section.rpartition('.')[2]}:") + 1
    assert f"station.yaml:{line}: {section}: {words}" in str(caught.value)


def test_a_cameras_keys_are_left_to_its_adapter() -> None:
    class FolderSettings(Section):
        type: str
        directory: str

    document = parse_document(Path("station.yaml"), EXAMPLE.encode())
    assert document.section(("cameras", "top"), FolderSettings).directory == "recorded/top"
