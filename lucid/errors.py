"""Every error that Lucid raises on purpose, each with a stable code.

The message says what was found, what was expected and what to do. The HTTP statuses stand in one
table in `api/problems.py`; the command line prints the message and exits with 1.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class LucidError(Exception):
    """Base of all expected errors.

    `code` is stable and meant for programs, the message is meant for people.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    @property
    def for_customers(self) -> str:
        """The message without what only the operator should read: names of files and addresses."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process makes the same error of, whatever the constructor of its class asks for."""
        return _remade, (type(self), self.message, vars(self))


def _remade(kind: type[LucidError], message: str, attributes: Mapping[str, object]) -> LucidError:
    error = kind.__new__(kind)  # its own constructor may make a message that is here already
    LucidError.__init__(error, message)
    vars(error).update(attributes)
    return error


class InvalidRequest(LucidError):
    """A parameter has a value that the contract does not allow."""

    code = "invalid_request"


class UnusableFile(LucidError):
    """A file cannot be imported at all; nothing of it was stored."""

    code = "not_csv"
    codes = (
        "missing_column duplicate_column mixed_kinds not_csv not_utf8 too_big no_rows no_good_rows bad_row "
        "import_stopped".split()
    )


class IdempotencyKeyReused(LucidError):
    """The key of a request that may be repeated came with another request before."""

    code = "idempotency_key_reused"


class UnknownModel(LucidError):
    code = "unknown_model"


class UnknownVersion(LucidError):
    code = "unknown_version"


class VersionAnswers(LucidError):
    """The version that answers cannot be rejected."""

    code = "version_answers"


class UnknownPlacement(LucidError):
    code = "unknown_placement"


class UnknownBatch(LucidError):
    code = "unknown_batch"


class UnknownDelivery(LucidError):
    code = "unknown_delivery"


class UnknownSchedule(LucidError):
    code = "unknown_schedule"


class UnknownExperiment(LucidError):
    code = "unknown_experiment"


class ExperimentExists(LucidError):
    """An experiment of that name is there already; what is being tried is not changed."""

    code = "experiment_exists"


class AutoTrainOff(LucidError):
    code = "auto_train_off"


class UnknownKey(LucidError):
    code = "unknown_key"


class UnknownSource(LucidError):
    code = "unknown_source"


class UnknownType(LucidError):
    code = "unknown_type"


class ModelNotReady(LucidError):
    """The model has no finished version yet."""

    code = "model_not_ready"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"model {model_id!r} has no finished version yet; ask for its status")
        self.model_id = model_id


class OutdatedVersion(LucidError):
    """Another release of Lucid wrote the version, in a way that this one does not read."""

    code = "outdated_version"


class Damaged(LucidError):
    """A file that Lucid has written cannot be read any more; the message names it, below `LUCID_HOME`."""

    code = "damaged"


class DamagedVersion(Damaged):
    """Files of a version are not as they were published: `what` is damaged, `found` says which file and how."""

    code = "damaged_version"

    def __init__(
        self, what: str, found: str, advice: str = "train the model again, or run: lucid check --repair"
    ) -> None:
        super().__init__(f"{what} of this model is damaged ({found}); {advice}")
        self.what, self.found = what, found


class AlreadyTraining(LucidError):
    """A training of the same model is still running."""

    code = "already_training"


class NotTraining(LucidError):
    """No training of the model runs that could be cancelled."""

    code = "not_training"


class TrainingFailed(LucidError):
    """The training cannot go on for a reason that the customer can mend."""

    code = "training_failed"


class NotEnoughMemory(LucidError):
    """The training needs more memory than there is for it."""

    code = "not_enough_memory"


class NothingToRefresh(LucidError):
    """No interaction is left of what a refresh would select; the live version goes on answering as it is."""

    code = "nothing_to_refresh"


class CallbackRefused(LucidError):
    """The callback URL may not be called under the present settings."""

    code = "callback_refused"


class CallbackFailed(LucidError):
    """The receiver could not be reached or did not answer with a 2xx status."""

    code = "callback_failed"


class Unauthorized(LucidError):
    code = "unauthorized"


class Forbidden(LucidError):
    code = "missing_scope"


class TooManyRequests(LucidError):
    """A key made more calls than its limit allows; it may call again after `retry_after` seconds."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(f"{message}; wait {retry_after} s")
        self.retry_after = retry_after


class Unavailable(LucidError):
    """A part of the service that the call needs does not answer; the call can be repeated."""

    code = "unavailable"

    @property
    def for_customers(self) -> str:
        return "a part of the service that this call needs does not answer now; try again"


class MachineError(LucidError):
    """The machine does not give what the work needs: room, the right to write, open files, memory."""

    code = "storage_unavailable"
    codes: ClassVar[dict[str, str]] = {
        "storage_full": "the service has no room left for this; try again once its operator has made some",
        "storage_unavailable": "the service cannot use its files now; its operator finds the reason in the log",
        "out_of_resources": "the service has no memory, threads or files left for this; try again later, or with less",
    }

    @property
    def for_customers(self) -> str:
        return self.codes[self.code]


def error_of(code: str, message: str, **attributes: object) -> LucidError:
    """The error that a code stands for, as it was before it became an answer over HTTP."""
    known = {kind.code: kind for kind in (*LucidError.__subclasses__(), *Damaged.__subclasses__())}
    kinds: dict[str, type[LucidError]] = known | dict.fromkeys(UnusableFile.codes, UnusableFile)
    kinds |= dict.fromkeys(MachineError.codes, MachineError)
    return _remade(kinds.get(code, LucidError), message, {"code": code, **attributes})
