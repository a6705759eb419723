"""May this caller open an association, what may it ask for, and whom may it have instances sent to?
The only place that knows."""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.config.subject import names_all, subject_text
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Caller, Rejection
from pacsnode.scp.hosts import Hosts, is_in, look_up
from pacsnode.scp.places import Places
from pacsnode.scp.suggestion import Suggestions
from pacsnode.scu.peer import find_modality

log = logging.getLogger(__name__)

# Result, source, reason (PS3.8 9.3.4).
CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True, slots=True)
class Settings:
    """What access is decided by, as configured."""

    ae_title: str
    rules: Rules
    modalities: Mapping[str, Modality]
    max_associations: int

    @property
    def max_unknown_associations(self) -> int:
        """A tenth is kept for those who are known, where anybody is; small limits lose nothing."""
        if self.rules.max_unknown_associations is not None:
            return self.rules.max_unknown_associations
        kept = self.max_associations // 10 if self.modalities else 0
        return self.max_associations - kept


@dataclass(frozen=True, slots=True)
class Rights:
    """What was decided for an association when it was opened; a reload does not change it. `name`
    is the caller's in `modalities`, None for one that is not there, or that counts as unknown for
    the reason `because`."""

    services: frozenset[str]
    name: str | None = None
    settings: Settings | None = field(default=None, repr=False)
    because: str = ""

    @property
    def modality(self) -> Modality | None:
        if self.settings is None or self.name is None:
            return None
        return self.settings.modalities[self.name]

    @property
    def character_set(self) -> str | None:
        """What the caller's datasets and queries are taken to be in where they do not say."""
        return self.modality.character_set if self.modality is not None else None

    @property
    def deciding_setting(self) -> str:
        """The key path that says which services there are."""
        if self.name is None:
            return "access.unknown_callers"
        return f"modalities.{self.name}.allow"

    def hint(self, ae_title: str) -> str:
        """For the log of what an unknown caller was refused: why a known title is not enough, or
        the title that it may have meant."""
        if self.settings is None or self.name is not None:
            return ""
        if self.because:
            return f", for it is {self.because}"
        titles = [modality.ae_title for modality in self.settings.modalities.values()]
        nearest = nearest_title(ae_title, titles)
        return f"; the nearest known title is {nearest!r}" if nearest else ""


NO_RIGHTS = Rights(frozenset())


class Refusal(NamedTuple):
    """What the caller is answered, and the reason in full, which has been logged."""

    answer: Answer
    reason: str


class Access:
    """Decides on connections, associations and destinations; counts associations over all processes
    that share `places`: as many as `max_associations`, which is this process's own business where
    none are given. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        resolve: "Callable[[str], frozenset[str]] | None" = None,
        places: Places | None = None,
    ) -> None:
        self._settings = settings
        self._hosts = Hosts(resolve or look_up)
        self._places = places or Places(settings.max_associations)
        self._admitted: dict[int, tuple[Rights, int]] = {}
        self._suggestions = Suggestions()

    @property
    def settings(self) -> Settings:
        """Those for the next association."""
        return self._settings

    def configure(self, settings: Settings) -> None:
        """Decide by these from the next association on."""
        self._settings = settings

    def welcomes(self, host: str) -> bool:
        """Whether connections are taken from this IP address."""
        networks = self._settings.rules.networks
        return networks is None or is_in(networks, host)

    def admit(self, caller: Caller) -> Rejection | None:
        """None admits the caller, who then holds a place until `ended`."""
        settings = self._settings
        rejection = _check_called_title(settings, caller)
        if rejection is not None:
            return rejection
        rights = self._decide(settings, caller)
        if not rights.services:
            text = f"{_who(caller)}: {_why_nothing(rights)}{rights.hint(caller.ae_title)}"
            entry = self.suggestion(caller, rights)
            text += f"; to make it known, add below modalities: {entry}" if entry else ""
            return Rejection(*CALLING_AE_TITLE_NOT_RECOGNISED, text)
        rejection = self._take_place(settings, caller, rights)
        if rejection is None and rights.because:
            log.warning("%s counts as unknown: it is %s", _who(caller), rights.because)
        return rejection

    def ended(self, caller: Caller) -> None:
        """Give the caller's place back. Doing so twice does no harm."""
        with self._places.counting():
            admitted = self._admitted.pop(caller.association, None)
            if admitted is not None:
                self._places.give_back(admitted[1])

    def rights(self, caller: Caller) -> Rights:
        """Those of an association that was admitted; none of any other."""
        admitted = self._admitted.get(caller.association)
        return admitted[0] if admitted is not None else NO_RIGHTS

    def destination(self, caller: Caller, ae_title: str) -> tuple[str, Modality] | Refusal:
        """The modality with this AE title, to which the caller may have instances sent. It is
        refused with A801 where there is none, with 0124 where it is not among the caller's own
        move_destinations."""
        rights = self.rights(caller)
        found = find_modality(ae_title, (rights.settings or self._settings).modalities)
        if found is None:
            return self._unknown_destination(caller, ae_title)
        modality = rights.modality
        allowed = modality.move_destinations if modality is not None else None
        if allowed is None or found[0] in allowed:
            return found
        reason = (
            f"{_who(caller)} may not move to {ae_title!r}: modalities.{rights.name}"
            f".move_destinations does not name {found[0]}"
        )
        log.warning("%s", reason)
        return Refusal(
            Answer(status.NOT_AUTHORISED, f"Not authorised to move to {ae_title}"), reason
        )

    def suggestion(self, caller: Caller, rights: Rights, services: Iterable[str] = ()) -> str:
        """What would make a caller known who was refused for being unknown; of `services`, the ones
        that it was refused. Empty for any other, and where it has been said before."""
        if rights.settings is None or rights.name is not None or rights.because:
            return ""
        known = rights.settings.modalities
        return self._suggestions.for_stranger(caller.ae_title, caller.host, known, services)

    def count(self) -> int:
        """Associations of this process that hold a place."""
        return len(self._admitted)

    def _unknown_destination(self, caller: Caller, ae_title: str) -> Refusal:
        settings = self.rights(caller).settings or self._settings
        titles = [modality.ae_title for modality in settings.modalities.values()]
        nearest = nearest_title(ae_title, titles)
        hint = f"; the nearest is {nearest!r}" if nearest else ""
        reason = f"{_who(caller)}: C-MOVE to {ae_title!r}, no AE title of modalities{hint}"
        log.warning("%s", reason)
        entry = self._suggestions.for_stranger(ae_title, caller.host, settings.modalities, ["echo"])
        if entry:
            log.warning(
                "to make %r known as a destination, add below modalities, with its own host where "
                "it is not the caller: %s",
                ae_title,
                entry,
            )
        answer = Answer(status.MOVE_DESTINATION_UNKNOWN, f"Unknown destination {ae_title}")
        return Refusal(answer, reason)

    def _decide(self, settings: Settings, caller: Caller) -> Rights:
        unknown = settings.rules.unknown_callers
        found = find_modality(caller.ae_title, settings.modalities)
        if found is None:
            return Rights(unknown, settings=settings)
        name, modality = found
        if settings.rules.check_host and not self._hosts.matches(modality.host, caller.host):
            because = (
                f"not from the host of modalities.{name} ({modality.host}), which "
                "access.check_host demands"
            )
            return Rights(unknown, settings=settings, because=because)
        because = _wrong_certificate(name, modality, caller)
        if because:
            return Rights(unknown, settings=settings, because=because)
        return Rights(modality.allow, name, settings)

    def _take_place(self, settings: Settings, caller: Caller, rights: Rights) -> Rejection | None:
        with self._places.counting():
            reason = self._why_full(settings, rights)
            if not reason:
                place = self._places.take(rights.name, caller.ae_title, caller.host)
                self._admitted[caller.association] = rights, place
                return None
        hint = rights.hint(caller.ae_title)
        return Rejection(*LOCAL_LIMIT_EXCEEDED, f"{_who(caller)}: {reason}{hint}")

    def _why_full(self, settings: Settings, rights: Rights) -> str:
        """Why there is no place for one more association of a caller with these rights."""
        taken = self._places.taken()
        if taken >= settings.max_associations:
            limit = settings.max_associations
            return f"{taken} associations are open, listen.max_associations is {limit}"
        modality = rights.modality
        own: int | None = settings.max_unknown_associations
        setting = "access.max_unknown_associations"
        if modality is not None:
            own = modality.max_associations
            setting = f"modalities.{rights.name}.max_associations"
        if own is None or self._places.held_by(rights.name) < own:
            return ""
        return f"{setting} is {own}"


def _who(caller: Caller) -> str:
    return f"caller {caller.ae_title!r} from {caller.host}"


def _why_nothing(rights: Rights) -> str:
    if rights.name is not None:
        return f"{rights.deciding_setting} is empty"
    if rights.because:
        return f"{rights.deciding_setting} is empty, and the caller counts as unknown"
    return f"no AE title of modalities, and {rights.deciding_setting} is empty"


def _wrong_certificate(name: str, modality: Modality, caller: Caller) -> str:
    """What is wrong with the certificate that the caller showed; nothing where none is asked."""
    wanted = modality.certificate_subject
    if wanted is None:
        return ""
    setting = f"modalities.{name}.certificate_subject ({subject_text(wanted)})"
    if caller.certificate_subject is None:
        return f"without a certificate, which {setting} demands"
    if names_all(wanted, caller.certificate_subject):
        return ""
    shown = subject_text(caller.certificate_subject) or "an empty subject"
    return f"with a certificate of {shown}, which is not the one that {setting} demands"


def _check_called_title(settings: Settings, caller: Caller) -> Rejection | None:
    called = caller.called_ae_title.strip(" \0")
    if not settings.rules.check_called_ae_title or called == settings.ae_title.strip(" \0"):
        return None
    return Rejection(
        *CALLED_AE_TITLE_NOT_RECOGNISED,
        f"{_who(caller)} called {called!r}, not ae_title {settings.ae_title!r}, which "
        "access.check_called_ae_title demands",
    )


def nearest_title(ae_title: str, titles: Iterable[str]) -> str | None:
    """The most similar of `titles`, case aside."""
    upper = {title.strip(" \0").upper(): title for title in titles}
    found = difflib.get_close_matches(ae_title.strip(" \0").upper(), upper, 1, 0.5)
    return upper[found[0]] if found else None
