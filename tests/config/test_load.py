from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.config import load as module
from pacsnode.config.load import find_file, load
from pacsnode.config.model import AE_TITLE, Configuration
from pacsnode.config.values import SERVICES
from pacsnode.errors import ConfigurationError

PORT = "a port from 1 to 65535, or 0 for a free one; null is TLS only"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def faults(file: Path, text: str) -> list[str]:
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert str(caught.value).splitlines() == list(caught.value.faults)
    return [fault.removeprefix(f"{file}:") for fault in caught.value.faults]


def fault(file: Path, text: str) -> str:
    (only,) = faults(file, text)
    return only


def loaded(file: Path, text: str) -> Configuration:
    file.write_text(text, "utf-8")
    return load(file)


def test_an_empty_file_is_the_defaults(file: Path) -> None:
    assert loaded(file, "").access.unknown_callers == {"echo"}
    assert loaded(file, "listen:\naccess:\nmodalities:\n").listen.port == 11112


def test_without_a_file_unknown_callers_may_do_all() -> None:
    configuration = load(None)
    assert configuration.access.unknown_callers == SERVICES
    assert configuration.listen.host == "127.0.0.1"
    assert configuration.data_dir == Path.cwd() / "pacsnode-data"


def test_paths_are_relative_to_the_folder_of_the_file(file: Path, tmp_path: Path) -> None:
    assert loaded(file, "data_dir: data").data_dir == tmp_path / "data"
    assert loaded(file, "data_dir: /srv/data").data_dir == Path("/srv/data")


def test_all_faults_come_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = "listen:\n  port: 70000\n  max_pud: 1\nae_title: ''\nmodalities:\n  CT: {port: 104}\n"
    assert faults(file, text) == [
        f"2: listen.port: 70000 is not possible here; allowed: {PORT}",
        "3: listen.max_pud: unknown key; perhaps max_pdu",
        f"4: ae_title: '' is empty or nothing but spaces; allowed: {AE_TITLE}",
        "6: modalities.CT.host: missing; allowed: an IP address or a host name",
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("listen: [", "1: column 10: while parsing"),
        ("a: 1\n b: 2", "2: column 3: mapping values"),
        ("[1, 2]", "1: not a section"),
        ("data_dir: 2020-13-45", "month must be in"),
        ("log: {level: INFO}\nlog: {level: DEBUG}", "2: log: given twice, first in line 1"),
        ("log: {level: INFO,\n level: DEBUG}", "2: log.level: given twice"),
        ("&a {b: *a}", "1: b: unknown key"),
        ("1: 2", "1: 1: a key that is no text"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("listen:\n  port: !!bool x", "2: column 9: a value that is no bool"),
        ("listen: {port: !!int ''}", "1: column 16: a value that is no int"),
        ("ae_title: !!timestamp x", "1: column 11: a value that is no timestamp"),
    ],
)
def test_yaml_that_cannot_be_used_is_named_by_its_line(file: Path, text: str, wrong: str) -> None:
    assert wrong in faults(file, text)[0]


@pytest.mark.parametrize(
    ("title", "wrong"),
    [
        ("'12345678901234567'", "has 17 characters"),
        ("'A\\B'", "has a character that AE titles may not have"),
        ('"A\\tB"', "has a character"),
        ("MÜLLER", "has a character"),
        ("'   '", "nothing but spaces"),
        ("12345", "quotes make it text"),
    ],
)
def test_ae_titles_follow_the_rules_of_their_vr(file: Path, title: str, wrong: str) -> None:
    assert wrong in fault(file, f"ae_title: {title}")
    assert wrong in fault(file, f"modalities: {{A: {{host: x, ae_title: {title}}}}}")


def test_spaces_around_an_ae_title_do_not_count(file: Path) -> None:
    assert loaded(file, "ae_title: ' A B '").ae_title == "A B"


def test_a_modality_is_titled_by_its_name(file: Path) -> None:
    assert loaded(file, "modalities: {CT: {host: x}}").modalities["CT"].ae_title == "CT"
    assert "modalities.a name that is long.ae_title" in fault(
        file, "modalities: {a name that is long: {host: x}}"
    )


def test_equal_titles_are_a_fault_among_others(file: Path) -> None:
    text = "modalities:\n  A: {host: x}\n  B: {host: y, ae_title: 'A ', port: x}\n"
    assert [one.split(";")[0] for one in faults(file, text)] == [
        "3: modalities.B.port: 'x' is not possible here",
        "3: modalities.B.ae_title: 'A' is the AE title of A too",
    ]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("1GiB", 2**30), ("500MB", 5 * 10**8), ("'1.5 kib'", 1536), ("12B", 12)],
)
def test_sizes_have_units(file: Path, text: str, bytes_: int) -> None:
    assert loaded(file, f"storage: {{min_free: {text}}}").storage.min_free == bytes_


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("storage: {min_free: 1XB}", "storage.min_free"),
        ("storage: {min_free: -1}", "storage.min_free"),
        (f"storage: {{min_free: '{'9' * 400}'}}", "storage.min_free"),
        (f"storage: {{min_free: {'9' * 400}}}", "storage.min_free"),
        ("storage: {on_duplicate: drop}", "storage.on_duplicate"),
        ("storage: {fsync: 1}", "storage.fsync"),
        ("listen: {port: '104'}", "listen.port"),
        ("listen: {port: true}", "listen.port"),
        ("listen: {max_pdu: 100}", "listen.max_pdu"),
        ("listen: {max_associations: 0}", "listen.max_associations"),
        ("listen: {workers: 0}", "listen.workers"),
        ("listen: {workers: 65}", "listen.workers"),
        ("listen: {workers: true}", "listen.workers"),
        ("listen: {workers: many}", "listen.workers"),
        ("listen: {host: 'a b'}", "listen.host"),
        ("timeouts: {idle: 0}", "timeouts.idle"),
        ("timeouts: {idle: .inf}", "timeouts.idle"),
        ("timeouts: {idle: .nan}", "timeouts.idle"),
        ("timeouts: {idle: null}", "timeouts.idle"),
        ("data_dir: null", "data_dir"),
        ("data_dir: [a]", "data_dir"),
        ("access: {unknown_callers: echo}", "access.unknown_callers"),
        ("access: {unknown_callers: [ping]}", "access.unknown_callers"),
        ("access: [echo]", "access"),
        ("modalities: [A]", "modalities"),
        ("modalities: {A: 10.0.0.1}", "modalities.A"),
        ("modalities: {A: {host: x, allow: none}}", "modalities.A.allow"),
        ("modalities: {A: {host: x, character_set: latin1}}", "modalities.A.character_set"),
        ("modalities: {A: {host: x, transfer_syntaxes: []}}", "modalities.A.transfer_syntaxes"),
        ("modalities: {A: {host: x, transfer_syntaxes: [A]}}", "modalities.A.transfer_syntaxes"),
        (
            "modalities: {A: {host: x, transfer_syntaxes: [1.2.840.10008.1.2.7.1]}}",
            "modalities.A.transfer_syntaxes",
        ),
        ("modalities: {A: {host: x, associations: 0}}", "modalities.A.associations"),
        ("modalities: {A: {host: x, associations: 33}}", "modalities.A.associations"),
        ("log: {level: LOUD}", "log.level"),
        ("log: {format: xml}", "log.format"),
        ("listen: {max_associations: 1000000}", "listen.max_associations"),
    ],
)
def test_impossible_values_are_named_with_what_is_allowed(file: Path, text: str, key: str) -> None:
    line = fault(file, text)
    assert line.startswith(f"1: {key}: ")
    assert "; allowed: " in line


@pytest.mark.parametrize(
    "text",
    [
        "index: {url: 'postgresql://user:secret@host/database'}",
        "storage: {url: 's3://bucket/prefix'}",
    ],
)
def test_what_later_versions_bring_is_refused_in_one_line(file: Path, text: str) -> None:
    line = fault(file, text)
    assert "comes in a later version" in line
    assert "secret" not in line


def test_a_url_that_may_hold_a_password_is_never_shown(file: Path) -> None:
    assert "secret" not in fault(file, "index: {url: 'mysql://user:secret@host/database'}")


def test_a_secret_comes_from_a_variable_or_a_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSWORD", "from the variable")
    (tmp_path / "password").write_text("from the file\n", "utf-8")
    text = "modalities: {A: {host: x, tls: {key_password: %s}}}"
    for source, secret in (
        ("!env KEY_PASSWORD", "from the variable"),
        ("!file password", "from the file"),
        (f"!file {tmp_path / 'password'}", "from the file"),
    ):
        tls = loaded(file, text % source).modalities["A"].tls
        assert tls is not None
        assert tls.key_password is not None
        assert tls.key_password.get_secret_value() == secret
        assert secret not in repr(tls)


def test_what_cannot_be_had_elsewhere_is_told_beside_the_other_faults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    text = (
        "ae_title: !env NOWHERE\nindex:\n  url: !file missing\n"
        "listen:\n  port: !env [A, B]\nlog: {level: LOUD}"
    )
    assert [line.partition("; ")[0] for line in faults(file, text)] == [
        "1: ae_title: !env NOWHERE: the variable is not set",
        "3: index.url: !file missing: No such file or directory",
        "5: listen.port: !env is to be followed by one name",
        "6: log.level: 'LOUD' is not possible here",
    ]


def test_a_secret_that_is_no_text_is_not_shown(file: Path) -> None:
    line = fault(file, "modalities: {A: {host: x, tls: {key_password: 271828}}}")
    assert line.startswith("1: modalities.A.tls.key_password: a value that is no text")
    assert "271828" not in line


def test_a_secret_in_a_list_that_should_be_a_section_is_not_shown(file: Path) -> None:
    line = fault(file, "modalities: {A: {host: x, tls: [key_password: '271828']}}")
    assert line.startswith("1: modalities.A.tls: a list is of the wrong type; allowed: ")
    assert "271828" not in line


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("listen: {port: null}", "listen: port is null, which is TLS only, and tls is null"),
        ("listen: {tls: {port: 2762}}", "listen.tls.certificate: missing; allowed: a PEM file"),
        ("listen: {tls: {certificate: a}}", "listen.tls: client_ca is missing, which says whose"),
        ("listen: {tls: {certificat: a}}", "listen.tls.certificat: unknown key; perhaps certif"),
        ("modalities: {A: {host: x, tls: 1}}", "modalities.A.tls: 1 is not possible here; allow"),
        ("modalities: {A: {host: x, tls: {cer: a}}}", "modalities.A.tls.cer: unknown key; "),
        ("modalities: {A: {host: x, move_destinations: [B]}}", "A.move_destinations: 'B' is no n"),
        (
            "modalities: {A: {host: x, certificate_subject: ct1}}",
            "A.certificate_subject: 'ct1' is n",
        ),
        ("access: {networks: [10.0.0.1/8]}", "access.networks: '10.0.0.1/8' is no network: "),
        ("access: {networks: [10]}", "access.networks: 10 is no network; allowed: a list of netw"),
        ("audit: {syslog: {port: 514}}", "audit.syslog.host: missing; allowed: an IP address"),
        ("audit: {syslog: {host: x, transport: tcp}}", "audit.syslog.transport: 'tcp' is not"),
        ("commit: {retry_hours: -1}", "commit.retry_hours: -1 is not possible here"),
    ],
)
def test_faults_of_sections_within_sections_are_told_by_their_key(
    file: Path, text: str, wrong: str
) -> None:
    assert any(wrong in line for line in faults(file, text))


def test_tls_is_configured_with_files_beside_the_configuration(file: Path, tmp_path: Path) -> None:
    text = (
        "listen: {port: null, tls: {certificate: node.pem, client_ca: /etc/ca.pem}}\n"
        "modalities: {A: {host: x, tls: true}, B: {host: x, tls: {ca: ca.pem}}, C: {host: x}}\n"
    )
    configuration = loaded(file, text)
    assert configuration.listen.tls is not None
    assert configuration.listen.tls.port == 2762
    assert configuration.listen.tls.certificate == tmp_path / "node.pem"
    assert configuration.listen.tls.client_ca == Path("/etc/ca.pem")
    given = {name: modality.tls for name, modality in configuration.modalities.items()}
    assert given["A"] is not None
    assert given["A"].ca is None
    assert given["A"].verify_host
    assert given["B"] is not None
    assert given["B"].ca == tmp_path / "ca.pem"
    assert given["C"] is None


def test_what_is_harmless_already_is_taken(file: Path) -> None:
    text = (
        "access: {unknown_callers: [echo, commit]}\n"
        "modalities:\n"
        "  A: {host: '[::1]', allow: [commit], commit_report: same association, tls: false}\n"
        "  B: {host: x, allow: all, character_set: ISO_IR 100, max_associations: 3,\n"
        "      associations: 4, transfer_syntaxes: [ExplicitVRLittleEndian, 1.2.840.10008.1.2]}\n"
    )
    modalities = loaded(file, text).modalities
    assert modalities["A"].host == "::1"
    assert modalities["A"].commit_report == "same"
    assert modalities["B"].allow == SERVICES
    assert modalities["B"].associations == 4
    assert modalities["B"].transfer_syntaxes == ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def test_transfer_syntaxes_newer_than_the_dictionary_are_known_by_name_and_number(
    file: Path,
) -> None:
    text = (
        "modalities: {A: {host: x, transfer_syntaxes:"
        " [DeflatedImageFrameCompression, 1.2.840.10008.1.2.4.110, JPEGXL, MPEG2MPML]}}"
    )
    assert loaded(file, text).modalities["A"].transfer_syntaxes == (
        "1.2.840.10008.1.2.8.1",
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.112",
        "1.2.840.10008.1.2.4.100",
    )


def test_the_file_is_looked_for_in_the_documented_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.yaml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "PLACES", (Path("config.yaml"), system))
    monkeypatch.delenv("PACSNODE_CONFIG", raising=False)
    assert find_file(None) is None
    system.touch()
    assert find_file(None) == system
    Path("config.yaml").touch()
    assert find_file(None) == Path("config.yaml")
    monkeypatch.setenv("PACSNODE_CONFIG", "other.yaml")
    assert find_file(None) == Path("other.yaml")
    assert find_file(Path("named.yaml")) == Path("named.yaml")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            load(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"ae_title: M\xfcLLER")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load(latin)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.one_of(
        st.text(max_size=60),
        st.builds(
            "{}: {}".format,
            st.sampled_from([*Configuration.model_fields, "modalities: {A", "listen: {port"]),
            st.text(max_size=30),
        ),
    )
)
def test_no_text_ends_in_anything_but_a_configuration_or_its_faults(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        configuration, lines = load(file), []
    except ConfigurationError as error:
        configuration, lines = None, list(error.faults)
    assert configuration is not None or lines
    assert all(line.startswith(str(file)) and "\n" not in line for line in lines)
