"""A mosquitto whose plugin refuses subscriptions, which an access list alone never does."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import AS_ME

ALL_IS_ALLOWED = {"subscribe": True, "unsubscribe": True, "publishClientSend": True, "publishClientReceive": True}
PLUGIN = next(Path("/usr/lib").glob("**/mosquitto_dynamic_security.so"), None)

needs_plugin = pytest.mark.skipif(PLUGIN is None, reason="mosquitto_dynamic_security.so is not installed")


def with_plugin(folder: Path, access: Mapping[str, bool], rules: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Return the broker's configuration, for anybody; rules: of the plugin's `acls`, which come before access."""
    everybody = {"groupname": "everybody", "roles": [{"rolename": "any"}]}
    document = {
        "defaultACLAccess": access, "anonymousGroup": "everybody", "groups": [everybody],
        "roles": [{"rolename": "any", "acls": [*rules]}],
    }  # fmt: skip
    (folder / "security.json").write_text(json.dumps(document))
    return [
        AS_ME, "listener {port} 127.0.0.1", "allow_anonymous true", f"plugin {PLUGIN}",
        f"plugin_opt_config_file {folder}/security.json",
    ]  # fmt: skip
