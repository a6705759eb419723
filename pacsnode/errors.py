"""Every error that pacsnode raises on purpose.

    PacsnodeError
    ├── ConfigurationError         configuration file or data folder cannot be used
    │   ├── ArchiveMismatch        index and storage tree are not of one archive, or one is missing
    │   ├── SchemaTooNew           the index was written by a newer pacsnode
    │   └── DataFolderLocked       another process holds the data folder
    ├── UsageError                 a command line that asks for the impossible
    ├── DicomError                 what a peer or a file says cannot be understood
    │   ├── UnreadableDataset      a dataset that cannot be parsed up to its UIDs
    │   │   └── UnusableUID        a Study, Series or SOP Instance UID is missing or out of bounds
    │   ├── MismatchedUID          a dataset is not the instance that its C-STORE command named
    │   ├── UnreadableIdentifier   a query's identifier cannot be parsed
    │   ├── InvalidQuery           a query that its information model forbids
    │   ├── UnknownTransaction     a report on storage commitment that nobody here has asked for
    │   └── TranscodingError       a dataset cannot be brought into the transfer syntax asked for
    ├── StorageError               the storage tree failed: I/O, permissions
    │   ├── OutOfSpace             no room, or less than storage.min_free
    │   ├── InstanceExists         something stands in the instance's place already
    │   ├── InstanceMissing        the index knows the instance, the tree does not
    │   └── InstanceDamaged        a stored file is not what was received
    │       └── InstanceTruncated  it is shorter
    ├── DuplicateRefused           the instance is here already and storage.on_duplicate is reject
    ├── NodeUnavailable            the running node does not say how it is, or none runs
    ├── RecordingDamaged           a file of `pacsnode trace` is cut off or altered
    ├── IndexFailure               the index failed: I/O, corruption, locked for too long
    │   ├── IndexDamaged           its file is not whole: the text names `pacsnode reindex`
    │   └── IndexFull              no room for the index to grow
    └── NetworkError               an association, in or out, failed at a named step
        ├── PeerUnreachable        name, tcp or tls
        ├── AssociationRejected    the peer said no to the association
        ├── AssociationLost        aborted by the peer, or the connection closed
        ├── PeerTimeout            the peer did not answer in time
        ├── NoPresentationContext  nothing negotiated fits what was to be sent
        └── RequestFailed          the peer answered a request of ours with a failure

Errors carry text for people. Which DIMSE status stands for which error is a table in each file of
scp/; which exit code, in cli/.
"""

from collections.abc import Sequence


class PacsnodeError(Exception):
    """Base of them all."""


class ConfigurationError(PacsnodeError):
    """One or more faults, a line each: file, key path, what is wrong, what is allowed."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: Sequence[str] = faults


class ArchiveMismatch(ConfigurationError):
    """Index and storage tree do not belong together; the text names `pacsnode reindex`."""


class SchemaTooNew(ConfigurationError):
    """The index has a schema version that this program does not know."""


class DataFolderLocked(ConfigurationError):
    """Another process uses the data folder in a way that excludes this one; the text names it."""


class UsageError(PacsnodeError):
    """A command line, or a value on it, that cannot be carried out."""


class DicomError(PacsnodeError):
    """Something in a dataset or identifier cannot be used."""


class UnreadableDataset(DicomError):
    """A dataset that cannot be parsed as far as its UIDs."""


class UnusableUID(UnreadableDataset):
    """A Study, Series or SOP Instance UID is missing or not 1 to 128 bytes long."""


class MismatchedUID(DicomError):
    """SOP Class or SOP Instance UID of a dataset are not those of its command (PS3.4 B.2.3)."""


class UnreadableIdentifier(DicomError):
    """The identifier of a C-FIND, C-MOVE or C-GET cannot be parsed."""


class InvalidQuery(DicomError):
    """Level or keys of an identifier are not what its information model allows (PS3.4 C.4)."""


class UnknownTransaction(DicomError):
    """A report on storage commitment is of a transaction that nobody here has asked for."""

    def __init__(self, transaction_uid: str) -> None:
        super().__init__(f"nobody here has asked for transaction {transaction_uid}")


class TranscodingError(DicomError):
    """No codec, or pixel data that the codec refuses."""


class StorageError(PacsnodeError):
    """The storage tree could not be read or written."""


class OutOfSpace(StorageError):
    """The file system is full, or has less free space than storage.min_free."""


class InstanceExists(StorageError):
    """A file stands where the instance would go."""


class InstanceMissing(StorageError):
    """No file stands where the instance should be."""


class InstanceDamaged(StorageError):
    """A stored file is truncated, altered or no longer DICOM."""


class InstanceTruncated(InstanceDamaged):
    """A stored file is shorter than what was received."""


class DuplicateRefused(PacsnodeError):
    """The instance is here already, and storage.on_duplicate says reject."""


class NodeUnavailable(PacsnodeError):
    """No node runs on the data folder, or it does not answer."""


class RecordingDamaged(PacsnodeError):
    """A recording of associations is cut off or altered; the text names the line."""


class IndexFailure(PacsnodeError):
    """The index could not be read or written."""


class IndexDamaged(IndexFailure):
    """The index file is not what SQLite left; only `pacsnode reindex` mends that."""


class IndexFull(IndexFailure):
    """The file system under the index is full."""


class NetworkError(PacsnodeError):
    """An association failed. `step` is one of name, tcp, tls, association, message, release."""

    def __init__(self, text: str, step: str = "association") -> None:
        super().__init__(text)
        self.step = step


class PeerUnreachable(NetworkError):
    """No connection: `step` says whether name, tcp or tls failed."""


class AssociationRejected(NetworkError):
    """A-ASSOCIATE-RJ. `result`, `source` and `reason` are those of PS3.8 9.3.4."""

    def __init__(self, text: str, result: int, source: int, reason: int) -> None:
        super().__init__(text, "association")
        self.result = result
        self.source = source
        self.reason = reason


class AssociationLost(NetworkError):
    """A-ABORT, or a connection that closed without one."""


class PeerTimeout(NetworkError):
    """The peer let one of the configured times pass."""


class NoPresentationContext(NetworkError):
    """No accepted presentation context has this SOP class, transfer syntax and role."""


class RequestFailed(NetworkError):
    """The peer's last answer to a request of ours is a failure. `status` is its code."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text, "message")
        self.status = status
