"""docs/updates.md: each attack and fault in its lists names tests that there are; what the agent says, it does say."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "updates.md").read_text(encoding="utf-8")
FILES = [*ROOT.glob("tests/*/test_update_*.py"), *ROOT.glob("tests/unit/test_a[gp][ep]*.py"),
         *(ROOT / f"tests/unit/test_{name}.py" for name in ("launch", "release_stick", "release_stick_writing")),
         *ROOT.glob("tests/conformance/test_*.py")]  # fmt: skip
TESTS = {
    node.name for path in FILES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
}  # fmt: skip

LIKE_PYTHON_TUF = {
    "test_trusted_root_expired": "test_an_expired_root_is_kept_and_ends_the_refresh",
    "test_trusted_root_unsigned_without_bootstrap": "test_what_is_no_root_is_refused_and_nothing_is_asked",
    "test_max_root_rotations": "test_no_more_roots_than_agreed_are_taken_in_one_refresh",
    "test_intermediate_root_incorrectly_signed": "test_an_intermediate_root_that_the_old_keys_did_not_sign_ends_there",
    "test_intermediate_root_expired": "test_a_root_between_two_may_have_expired",
    "test_intermediate_root_cache": "test_roots_that_lie_on_disk_are_not_asked_for_again",
    "test_final_root_incorrectly_signed": "test_a_root_that_one_side_did_not_sign_is_refused",
    "test_new_root_same_version": "test_a_root_of_the_same_version_is_refused",
    "test_new_root_nonconsecutive_version": "test_a_root_that_skips_a_version_is_refused",
    "test_final_root_expired": "test_an_expired_root_is_kept_and_ends_the_refresh",
    "test_new_timestamp_unsigned": "test_an_unsigned_role_is_refused_and_those_before_it_are_kept",
    "test_expired_timestamp_version_rollback": "test_an_expired_timestamp_on_disk_still_forbids_an_older_one",
    "test_expired_timestamp_snapshot_rollback": "test_an_expired_timestamp_on_disk_still_forbids_an_older_snapshot",
    "test_new_timestamp_version_rollback": "test_an_older_timestamp_is_refused",
    "test_new_timestamp_snapshot_rollback": "test_an_older_snapshot_in_a_newer_timestamp_is_refused",
    "test_new_timestamp_expired": "test_an_expired_role_is_not_taken",
    "test_new_timestamp_fast_forward_recovery": "test_a_timestamp_that_ran_away_comes_back_with_a_new_key",
    "test_new_snapshot_hash_mismatch": "test_a_snapshot_with_another_hash_is_refused",
    "test_new_snapshot_unsigned": "test_an_unsigned_role_is_refused_and_those_before_it_are_kept",
    "test_new_snapshot_version_mismatch": "test_a_file_whose_name_lies_about_its_version_is_refused",
    "test_new_snapshot_version_rollback": "test_older_targets_in_a_newer_snapshot_are_refused",
    "test_new_snapshot_fast_forward_recovery": "test_a_snapshot_that_ran_away_comes_back_with_new_keys",
    "test_new_snapshot_expired": "test_an_expired_role_is_not_taken",
    "test_new_targets_hash_mismatch": "test_hashes_of_metadata_are_checked",
    "test_new_targets_unsigned": "test_an_unsigned_role_is_refused_and_those_before_it_are_kept",
    "test_new_targets_version_mismatch": "test_a_file_whose_name_lies_about_its_version_is_refused",
    "test_new_targets_expired": "test_an_expired_role_is_not_taken",
    "test_compute_metafile_hashes_length": "test_hashes_of_metadata_may_come_and_go",
    "test_new_targets_fast_forward_recovery": "test_targets_that_ran_away_come_back_with_a_new_snapshot_key",
    "test_snapshot_rollback_with_local_snapshot_hash_mismatch":
        "test_a_snapshot_on_disk_that_no_longer_fits_its_hash_still_forbids_older_targets",
    "test_intermediate_root_cache_poisoning": "test_a_root_that_was_poisoned_on_disk_is_fetched_anew",
    "test_expired_metadata": "test_expired_files_on_disk_are_no_obstacle_to_newer_ones",
    "test_max_metadata_lengths": "test_what_the_network_does_is_a_delivery_error_for_each_file",
    "test_timestamp_eq_versions_check": "test_another_timestamp_of_the_same_version_is_not_taken",
    "test_root_rotation": "test_roots_that_both_sides_signed_are_followed",
    "test_non_root_rotations": "test_a_roles_new_keys_hold_at_once",
    "test_graph_traversal": "test_roles_are_asked_in_preorder",
    "test_invalid_metadata": "test_a_role_that_nobody_signed_ends_the_search_there",
    "test_load_metadata_from_cache": "test_a_delegated_role_is_asked_for_once_and_then_read_from_disk",
    "test_hash_bins_graph_traversal": "test_a_target_is_found_where_its_hash_leads",
    "test_succinct_roles_graph_traversal": "test_one_bin_of_many_is_asked",
    "test_targetfile_search": "test_a_target_is_found_where_its_path_leads",
    "test_top_level_roles_update": "test_a_repository_without_consistent_snapshots_works",
    "test_delegated_roles_update": "test_a_roles_name_is_never_a_path",
    "test_fetch_target": "test_a_targets_file_has_its_quoted_name",
    "test_download_targets_with_succinct_roles": "test_one_bin_of_many_is_asked",
    "test_shared_delegation_signature_check":
        "test_a_role_that_two_delegate_to_needs_the_keys_of_whom_it_is_reached_by",
    "test_safely_encoded_rolenames": "test_a_roles_name_is_never_a_path",
    "test_invalid_target_download": "test_another_file_under_a_signed_name_is_not_taken",
    "test_invalid_target_cache": "test_a_target_that_changes_keeps_its_name",
    "test_meta_missing_delegated_role": "test_a_delegated_role_that_the_snapshot_does_not_know_vouches_for_nothing",
    "test_persist_metadata_fails": "test_a_full_disk_is_told_in_words_and_left_as_it_was",
    "test_response_read_timeout": "test_a_server_that_is_too_slow_is_given_up",
    "test_download_data_length_mismatch": "test_a_longer_file_is_refused_before_it_is_read",
    "test_session_get_ssl_error": "test_a_server_with_another_certificate_is_not_believed",
    "test_http_proxy": "test_the_agent_asks_through_the_proxy_that_is_named",
    "test_no_proxy": "test_what_the_environment_says_of_proxies_is_never_taken",
}  # fmt: skip
"""Name of an attack in python-tuf's own tests -> the test here that does the same to this client."""


AGENT = [*ROOT.glob("appliance/update/*.py"), *ROOT.glob("appliance/agent*.py"), ROOT / "appliance/links/question.py"]


def said(node: ast.AST) -> str:
    """A text of the code, with … for each value in it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(said(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


TEXTS = [
    said(node) for path in AGENT for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.JoinedStr | ast.Constant)
]  # fmt: skip


def section(title: str) -> list[str]:
    """The rows of the table under a heading of the page."""
    text = DOC.split(f"\n### {title}\n")[1].split("\n#")[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_each_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOC))
    assert len(named) > 60
    assert named - TESTS == set()


@pytest.mark.parametrize(("title", "least"), [("The network", 18), ("A stick", 20), ("Disk, processes, clock", 12)])
def test_each_attack_and_fault_names_a_test(title: str, least: int) -> None:
    rows = section(title)
    assert len(rows) >= least
    assert [row for row in rows if not re.search(r"`test_\w+`", row)] == []


def test_each_attack_of_python_tufs_own_tests_is_done_to_this_client() -> None:
    assert set(LIKE_PYTHON_TUF.values()) - TESTS == set()


@pytest.mark.parametrize(("title", "least"), [("Waits", 20), ("Refused", 15), ("Rolled back", 14)])
def test_each_reason_that_the_page_explains_is_one_that_the_agent_gives(title: str, least: int) -> None:
    cells = [row.split(" | ")[0] for row in section(title)]
    reasons = [words for cell in cells for words in re.findall(r"`([^`]+)`", cell)]
    assert len(reasons) >= least
    patterns = {words: ".*".join(map(re.escape, words.split("…"))) for words in reasons}
    assert [words for words in reasons if not any(re.search(patterns[words], text) for text in TEXTS)] == []
