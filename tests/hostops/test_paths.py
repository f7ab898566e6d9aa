"""The grammar of paths and the choice of the root: pure, tested on texts of Hypothesis."""

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writ_hostops.errors import HostError
from writ_hostops.files.paths import check_path, locate, within
from writ_hostops.protocol import HostFileRoot
from writ_testing.each_case import each_case

COMPONENT = st.text(
    st.characters(exclude_characters="/", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40
).filter(lambda text: text not in (".", "..", "proc", "sys", "dev"))
PATH = st.lists(COMPONENT, min_size=1, max_size=8).map(lambda components: "/" + "/".join(components))


def refusal(path: str) -> str:
    try:
        check_path(path, "file_path")
    except HostError as error:
        return error.code
    return ""


@settings(deadline=None)
@given(PATH)
def test_every_path_in_its_one_spelling_is_taken(path: str) -> None:
    assert refusal(path) == ""


@settings(deadline=None)
@given(st.text(max_size=60))
def test_accepted_path_is_absolute_and_normal(text: str) -> None:
    if refusal(text) == "":
        assert text.startswith("/")
        assert posixpath.normpath(text) == text
        assert ".." not in text.split("/")


@settings(deadline=None)
@given(PATH, st.sampled_from(["/..", "/../x", "/a/../b"]))
def test_dots_that_climb_count_as_a_way_out(path: str, climb: str) -> None:
    assert refusal(path + climb) == "outside_roots"


@each_case(
    "path",
    [
        "",
        "a",
        "./a",
        "//a",
        "/a//b",
        "/a/",
        "/a/.",
        "/./a",
        "/a\0b",
        "/a\n",
        "/a\r\nb",
        "/a\x1b[2J",
        "/a\x7f",
        "/a\u0085b",
        "/a\u2028b",
        "/\ud800",
        "/" + "a" * 256,
        "/" + "ä" * 128,
        "/" + "a" * 65536,
        "/" + "/".join(["a" * 200] * 21),
        "/srv/.writ-0123456789abcdef.tmp",
        "/srv/.writ-0123456789abcdef.lock",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    assert refusal(path) == "invalid_parameter"


@pytest.mark.parametrize("path", ["/-rf", "/srv/--help", "/a b/ c ", "/…/日本語", "/$(id)/`id`/;id", "/..a/...", "/~"])
def test_names_that_only_look_dangerous_are_taken(path: str) -> None:
    assert refusal(path) == ""


@settings(deadline=None)
@given(PATH, st.lists(PATH, max_size=5))
def test_the_longest_root_that_holds_the_path_is_chosen(path: str, others: list[str]) -> None:
    ancestors = [path.rsplit("/", n)[0] for n in range(1, path.count("/"))]
    roots = [HostFileRoot(root, allow_system_root=True) for root in (*others, *ancestors) if root]
    holding = [root.path for root in roots if within(path, root.path)]
    if not holding:
        with pytest.raises(HostError, match="not beneath any file root"):
            locate(path, roots)
        return
    root, relative = locate(path, roots)
    assert root == max(holding, key=len)
    assert posixpath.normpath(posixpath.join(root, relative)) == path


def test_a_root_is_no_prefix_of_text() -> None:
    with pytest.raises(HostError, match="not beneath any file root"):
        locate("/srv/apple", [HostFileRoot("/srv/app")])


@pytest.mark.parametrize(
    "root", ["/", "/etc", "/etc/nginx", "/proc", "/proc/1", "/sys", "/dev/shm", "/boot", "/root/x"]
)
def test_system_folder_is_a_root_only_with_allow_system_root(root: str) -> None:
    path = posixpath.join(root, "x")
    with pytest.raises(HostError, match="allow_system_root"):
        locate(path, [HostFileRoot(root)])
    assert locate(path, [HostFileRoot(root, allow_system_root=True)]) == (root, "x")


@pytest.mark.parametrize("path", ["/proc/self/environ", "/sys/power/state", "/dev/mem"])
def test_an_allowed_root_of_everything_does_not_reach_the_kernel(path: str) -> None:
    with pytest.raises(HostError, match="kernel's"):
        locate(path, [HostFileRoot("/", allow_system_root=True)])


def test_refused_system_root_hides_a_shorter_allowed_root() -> None:
    with pytest.raises(HostError, match="system folder"):
        locate("/etc/x", [HostFileRoot("/", allow_system_root=True), HostFileRoot("/etc")])
