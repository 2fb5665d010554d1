"""Uploads: what is stored, for whom, and what is refused without a trace."""

from __future__ import annotations

import io
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import LimitedStream

from project.models import Upload
from project.uploads.records import MAX_BYTES

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

CSV = b"id,name\n1,Ada\n2,\n"
COLUMNS = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "name", "type": "text", "nullable": True},
]


def post_file(client, data=CSV, name="people.csv"):
    return client.post("/api/uploads", {"file": SimpleUploadedFile(name, data, "text/csv")})


def post_body(client, data=CSV, content_type="text/csv", **extra):
    return client.generic("POST", "/api/uploads", data, content_type, **extra)


def refuse(answer):
    """Return code and line of a refusal that stored nothing."""
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail", "code", "line"}
    assert not Upload.objects.exists()
    return answer.json()["code"], answer.json()["line"]


def test_nobody_uploads_without_a_token(anonymous):
    assert post_file(anonymous).status_code == 401
    assert not Upload.objects.exists()


def test_form_upload_is_stored_with_its_owner(alice):
    answer = post_file(alice)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["name"], body["row_count"], body["columns"]) == ("people.csv", 2, COLUMNS)
    upload = Upload.objects.get()
    assert (str(upload.pk), upload.owner_id) == (body["id"], "user_alice")
    assert upload.text == CSV.decode()


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8", "TEXT/CSV"])
def test_body_upload(alice, content_type):
    answer = post_body(alice, content_type=content_type)
    assert answer.status_code == 201
    assert answer.json()["columns"] == COLUMNS
    assert Upload.objects.get().name == "upload.csv"


def test_owner_sees_summaries_in_the_list_and_the_text_alone(alice):
    created = post_file(alice).json()
    assert alice.get("/api/uploads").json()["results"] == [created]
    assert alice.get(f"/api/uploads/{created['id']}").json() == {**created, "text": CSV.decode()}


def test_anothers_upload_does_not_exist(alice, bob, anonymous):
    path = f"/api/uploads/{post_file(alice).json()['id']}"
    missing = f"/api/uploads/{uuid.uuid4()}"
    assert bob.get("/api/uploads").json()["count"] == 0
    assert bob.get(path).status_code == 404
    assert bob.get(path).json() == bob.get(missing).json()
    assert anonymous.get(path).status_code == 401


def test_list_is_paged_newest_first(alice, bob):
    for number in range(21):
        post_file(alice, name=f"{number}.csv")
    post_file(bob)
    first = alice.get("/api/uploads").json()
    second = alice.get(first["next"]).json()
    assert first["count"] == 21
    assert [row["name"] for row in first["results"]] == [f"{n}.csv" for n in range(20, 0, -1)]
    assert [row["name"] for row in second["results"]] == ["0.csv"]
    assert second["next"] is None
    assert alice.get("/api/uploads?page=3").status_code == 404


def test_list_leaves_the_text_in_the_database(alice, django_assert_num_queries):
    post_file(alice)
    with django_assert_num_queries(2) as queries:
        alice.get("/api/uploads")
    assert not any('"text"' in query["sql"] for query in queries.captured_queries)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\r\nSet-Cookie: x=1.csv", None),
        ("\u202egpj.csv", "gpj.csv"),
        ("<b>&amp;.csv", "<b>&.csv"),
        ("名前.csv", "名前.csv"),
        ("x" * 300 + ".csv", "x" * 251 + ".csv"),
    ],
)
def test_file_names_lose_what_is_dangerous(alice, name, stored):
    answer = post_file(alice, name=name)
    assert answer.status_code == 201
    kept = Upload.objects.get().name
    assert stored is None or kept == stored
    assert kept.isprintable()
    assert len(kept) <= 255


@pytest.mark.parametrize("post", [post_file, post_body])
@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", ("file_empty", 1)),
        (b"id\n\xff\n", ("encoding_invalid", 2)),
        (b"id,name\n1\n", ("row_ragged", 2)),
        (b"id\n\0\n", ("nul_byte", 2)),
        (b"1,2\n", ("header_missing", 1)),
        (b'id\n"1\n', ("quote_unterminated", 2)),
    ],
)
def test_bad_csv(alice, post, data, refusal):
    assert refuse(post(alice, data)) == refusal


@pytest.mark.parametrize("post", [post_file, post_body])
def test_size_boundary(alice, post):
    row = b"x" * 1023 + b"\n"
    data = b"id\n" + row * (MAX_BYTES // len(row))
    line = 1 + MAX_BYTES // len(row)
    assert refuse(post(alice, data[: MAX_BYTES + 1])) == ("file_too_large", line)
    assert refuse(post(alice, data + data)) == ("file_too_large", line)
    for size in (MAX_BYTES, MAX_BYTES - 1):
        assert post(alice, data[:size]).status_code == 201


class Drip(io.RawIOBase):
    """A body that is made as it is read, and remembers the largest piece it was asked for."""

    largest_read = 0

    def __init__(self, size: int) -> None:
        self.remaining = size

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "a body must not be read in one piece"
        self.largest_read = max(self.largest_read, size)
        size = min(size, self.remaining)
        self.remaining -= size
        return b"a" * size


def test_body_past_the_limit_is_read_in_pieces_and_dropped(alice):
    body = Drip(4 * MAX_BYTES)
    answer = post_body(
        alice, **{"wsgi.input": LimitedStream(body, 4 * MAX_BYTES), "CONTENT_LENGTH": 4 * MAX_BYTES}
    )
    assert refuse(answer) == ("file_too_large", 1)
    assert body.remaining == 0
    assert body.largest_read < MAX_BYTES / 10


@pytest.mark.parametrize("announced", [len(CSV) + 1, 10 * MAX_BYTES])
def test_body_shorter_than_announced(alice, announced):
    answer = post_body(alice, **{"wsgi.input": io.BytesIO(CSV), "CONTENT_LENGTH": announced})
    assert refuse(answer) == ("body_incomplete", None)


def test_body_longer_than_announced_is_cut(alice):
    answer = post_body(alice, **{"wsgi.input": io.BytesIO(CSV), "CONTENT_LENGTH": 8})
    assert answer.status_code == 201
    assert answer.json()["row_count"] == 0


@pytest.mark.parametrize("announced", ["", "0", "many"])
def test_body_of_unknown_length_is_empty(alice, announced):
    answer = post_body(alice, **{"wsgi.input": io.BytesIO(CSV), "CONTENT_LENGTH": announced})
    assert refuse(answer) == ("file_empty", 1)


def test_length_in_a_look_alike_header_counts_for_nothing(alice):
    answer = post_body(alice, b"", HTTP_CONTENT_LENGTH="18")
    assert refuse(answer) == ("file_empty", 1)


@pytest.mark.parametrize("content_type", ["text/csv", "multipart/form-data; boundary=b"])
def test_chunked_body_is_not_taken_for_an_empty_file(alice, content_type):
    answer = post_body(
        alice, content_type=content_type, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    )
    assert refuse(answer) == ("length_missing", None)


@pytest.mark.parametrize("content_type", ["text/csv", "multipart/form-data; boundary=b"])
def test_client_that_goes_away(alice, content_type):
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    answer = post_body(
        alice, content_type=content_type, **{"wsgi.input": Broken(), "CONTENT_LENGTH": 100}
    )
    assert refuse(answer)[0] in {"body_incomplete", "multipart_invalid"}


def multipart(*parts: str) -> bytes:
    return "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + b"--b--\r\n"


FILE = 'Content-Disposition: form-data; name="{}"; filename="{}"\r\n\r\nid\r\n1'
FIELD = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(multipart(), "file_missing", id="no-parts"),
        pytest.param(multipart(FIELD.format("file", "id")), "file_missing", id="no-file-name"),
        pytest.param(multipart(FILE.format("file", "")), "file_missing", id="empty-file-name"),
        pytest.param(multipart(FILE.format("data", "x.csv")), "file_missing", id="other-field"),
        pytest.param(multipart(FILE.format("file", "x"))[:-9], "file_missing", id="cut-short"),
        pytest.param(
            multipart(FILE.format("file", "a"), FILE.format("file", "b")),
            "too_many_files",
            id="two-files",
        ),
        pytest.param(
            multipart(FILE.format("file", "a"), FILE.format("other", "b")),
            "too_many_files",
            id="second-file-in-another-field",
        ),
        pytest.param(
            multipart(FIELD.format("note", "x" * 3_000_000)), "multipart_invalid", id="huge-field"
        ),
        pytest.param(
            multipart(*[FIELD.format("note", "x")] * 1_001), "multipart_invalid", id="many-fields"
        ),
        pytest.param(
            multipart(*[FILE.format("file", "x")] * 101), "multipart_invalid", id="many-files"
        ),
        pytest.param(
            multipart(
                'Content-Disposition: form-data; name="file"; filename="x"\r\n'
                "Content-Transfer-Encoding: base64\r\n\r\nabc"
            ),
            "multipart_invalid",
            id="bad-base64",
        ),
    ],
)
def test_bad_forms(alice, body, code):
    answer = post_body(alice, body, "multipart/form-data; boundary=b")
    assert refuse(answer) == (code, None)


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=\u00e9"])
def test_form_without_a_boundary(alice, boundary):
    answer = post_body(alice, multipart(), f"multipart/form-data{boundary}")
    assert refuse(answer) == ("multipart_invalid", None)


def test_many_files_hold_no_more_memory_than_one(alice, monkeypatch):
    kept = []
    from project.uploads.body import BoundedUploadHandler

    complete = BoundedUploadHandler.file_complete
    monkeypatch.setattr(
        BoundedUploadHandler,
        "file_complete",
        lambda self, size: kept.append(complete(self, size)) or kept[-1],
    )
    part = FILE.format("file", "x") + "x" * (2 * MAX_BYTES // 3)
    answer = post_body(alice, multipart(part, part, part), "multipart/form-data; boundary=b")
    assert refuse(answer) == ("too_many_files", None)
    assert sum(file.size for file in kept) == MAX_BYTES + 1


def test_other_content_types(alice):
    answer = post_body(alice, b"{}", "application/json")
    assert answer.status_code == 415
    assert not Upload.objects.exists()
