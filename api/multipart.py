"""Uploads: a multipart body goes straight to disk while it comes in, and is refused once a file is too large.

Starlette's own form knows no limit and writes to the system's temporary folder, which is memory on many machines.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lucid.errors import InvalidRequest, LucidError, UnusableFile
from lucid.schema.batches import MAX_FILES
from lucid.store.files import open_new
from lucid.store.machine import telling

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 100_000


@dataclass
class Upload:
    """What came in: the names that the client gave its files, where they lie now, and the other fields.

    `digests` are hashes of what the files hold, where they were asked for.
    """

    names: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)


async def receive(request: Request, folder: Path, max_file_bytes: int, *, digesting: bool = False) -> Upload:
    """Write the files of the form field `files` into a folder while they come in, and hash them if that is wanted.

    Raises InvalidRequest for what is no such form, UnusableFile for a file over the limit; parts may then lie in the
    folder, for the caller to remove.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise _not_a_form("the content type is not multipart/form-data with a boundary")
    with _Receiver(folder, max_file_bytes, digesting).receiving() as receiver:
        chunks = request.stream()
        try:
            parser = MultipartParser(options[b"boundary"], receiver.callbacks())
            async for chunk in chunks:
                with telling(folder):
                    await run_in_threadpool(parser.write, chunk)
            parser.finalize()
        except FormParserError as error:
            raise _not_a_form(str(error)) from error
        except LucidError:
            await _drain(chunks, max_file_bytes)
            raise
    if not receiver.ended:
        raise _not_a_form("the body ends before the form does")
    return receiver.upload


async def _drain(chunks: AsyncIterator[bytes], most: int) -> None:
    """Read on for a while: many clients look for an answer only when they have sent everything."""
    dropped = 0
    async for chunk in chunks:
        dropped += len(chunk)
        if dropped > most:
            break


class _Receiver:
    """What the parser calls while it reads: one part after the other, each a file or a field."""

    def __init__(self, folder: Path, max_file_bytes: int, digesting: bool) -> None:
        self.upload = Upload()
        self.ended = False
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._digesting = digesting
        self._digest = sha256()
        self._file: BinaryIO | None = None
        self._name = self._value = b""
        self._header, self._headers = (b"", b""), {b"": b""}
        self._size = 0

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    @contextmanager
    def receiving(self) -> Iterator["_Receiver"]:
        """Close the file that was open when the upload broke off."""
        try:
            yield self
        finally:
            if self._file:
                with suppress(OSError):  # what could not be written before cannot be written now
                    self._file.close()

    def _begin(self) -> None:
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = self._header[0] + data[start:end], self._header[1]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = self._header[0], self._header[1] + data[start:end]

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = b"", b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name, self._value, self._size = options.get(b"name", b""), b"", 0
        if self._name != b"files":
            return
        if b"filename" not in options:
            raise InvalidRequest("files: send files, not text")
        if len(self.upload.paths) == MAX_FILES:
            raise InvalidRequest(f"files: more than {MAX_FILES} in one call; send several calls")
        name = _base_name(options[b"filename"].decode(errors="replace"))
        path = self._folder / str(len(self.upload.paths))
        self._file, self._digest = open_new(path), sha256()
        self.upload.names.append(name)
        self.upload.paths.append(path)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._file:
            if self._size > self._max_file_bytes:
                limit = f"{self._max_file_bytes:,} bytes"
                raise UnusableFile(
                    f"{self.upload.names[-1]}: larger than the limit of {limit}; split it", code="too_big"
                )
            self._file.write(data[start:end])
            if self._digesting:
                self._digest.update(data[start:end])
        elif self._size > MAX_FIELD_BYTES:
            raise InvalidRequest(f"{_text(self._name)}: longer than {MAX_FIELD_BYTES:,} bytes")
        else:
            self._value += data[start:end]

    def _close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
            if self._digesting:
                self.upload.digests.append(self._digest.hexdigest())
        else:
            self.upload.fields.setdefault(_text(self._name), []).append(_text(self._value))

    def _end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _not_a_form("a field is not UTF-8") from None


def _not_a_form(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"files: send one or more CSV files in the form field 'files' (multipart/form-data); found: {what}"
    )


def _base_name(file_name: str) -> str:
    """The last part of the name that the client gave, without anything that means something to a file system."""
    name = PurePosixPath(file_name.replace("\\", "/")).name
    printable = "".join(letter if letter.isprintable() else "_" for letter in name).lstrip(".")
    return printable.encode()[-200:].decode(errors="ignore") or "upload.csv"
