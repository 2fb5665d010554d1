"""The body of an upload, multipart or raw: one file, of which one byte past the limit is kept.

That byte is how the CSV parser sees that a file is too large. What comes after it is read and
dropped, so that the client gets its answer instead of a reset connection, and no request holds
more than the limit in memory, whatever its ``Content-Length`` says.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO, Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict, UnreadablePostError
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser, DataAndFiles, MultiPartParser
from rest_framework.request import Request

from project.uploads.records import MAX_BYTES

_CHUNK_BYTES = 64 * 1024


class UploadRejected(APIException):
    """Answered with ``{"detail", "code", "line"}``; ``line`` is ``None`` if no line is at fault."""

    status_code = 400

    def __init__(self, code: str, detail: str, line: int | None = None) -> None:
        # Set directly: APIException would turn the number into a string.
        self.detail = {"detail": detail, "code": code, "line": line}


class BoundedUploadHandler(FileUploadHandler):
    """Keep the files of one request in memory, and of all of them no more than is ever taken."""

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._remaining_bytes = MAX_BYTES + 1
        self._kept = io.BytesIO()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._kept = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._remaining_bytes -= self._kept.write(raw_data[: self._remaining_bytes])

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        kept_bytes = self._kept.tell()
        self._kept.seek(0)
        return InMemoryUploadedFile(
            self._kept,
            self.field_name,
            self.file_name,
            self.content_type,
            kept_bytes,
            self.charset,
            self.content_type_extra,
        )


class UploadMultiPartParser(MultiPartParser):
    """``multipart/form-data``, whose faults have a code too."""

    def parse(self, *args: Any, **kwargs: Any) -> DataAndFiles:
        try:
            return super().parse(*args, **kwargs)
        except (ParseError, SuspiciousOperation, UnreadablePostError) as error:
            raise UploadRejected(
                "multipart_invalid", "The body is not the multipart form that its header announces."
            ) from error


class CSVBodyParser(BaseParser):
    """``text/csv``: the whole body is the file."""

    media_type = "text/csv"

    def parse(
        self, stream: IO[bytes], media_type: str | None, parser_context: Mapping[str, Any]
    ) -> bytes:
        kept = bytearray()
        received_bytes = 0
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                received_bytes += len(chunk)
                kept += chunk[: MAX_BYTES + 1 - len(kept)]
        except UnreadablePostError as error:
            raise UploadRejected("body_incomplete", "The body ended early.") from error
        # Some servers pass a cut body on as a short one; half a file would pass for a whole one.
        if received_bytes < int(parser_context["request"].META.get("CONTENT_LENGTH") or 0):
            raise UploadRejected("body_incomplete", "The body ended early.")
        return bytes(kept)


def read_upload(request: Request) -> tuple[str, bytes]:
    """Return name and bytes of the one file in a request.

    Raises:
        UploadRejected: no file in the field ``file``, several files, or a body that cannot be read.
    """
    if request.stream is None and "HTTP_TRANSFER_ENCODING" in request.META:
        # Django takes a body without a length for an empty one.
        raise UploadRejected("length_missing", "Send Content-Length; a chunked body is not read.")
    body = request.data
    if not isinstance(body, QueryDict):
        return "upload.csv", body or b""
    files = [file for _, files in request.FILES.lists() for file in files]
    if len(files) > 1:
        raise UploadRejected("too_many_files", "Send one file per request.")
    file = request.FILES.get("file")
    if file is None:
        raise UploadRejected(
            "file_missing", "Send the CSV as the form's file field 'file', or as a text/csv body."
        )
    return file.name, file.read()
