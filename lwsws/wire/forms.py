"""The bodies of submitted forms: which reader takes them, and all there is to know to use it.

    reader = form_reader(content_type)      None: this is no form
    reader.receive_data(data)               the body, in pieces of any size
    reader.receive_eof()                    and its end
    reader.next_event()                     Part, PartData ..., PartEnd, ..., FormEnd; None: more needed

Both readers give the same events (form_parts.py); how they read stands in form_urlencoded.py and
form_multipart.py.
"""

from __future__ import annotations

from typing import Optional

from lwsws.wire.form_parts import (
    DEFAULT_LIMITS,
    FormEnd,
    FormError,
    FormEvent,
    FormIncomplete,
    FormLimits,
    FormReader,
    Part,
    PartData,
    PartEnd,
)

__all__ = ["FormEnd", "FormError", "FormEvent", "FormIncomplete", "FormLimits", "FormReader", "Part",
           "PartData", "PartEnd", "form_reader"]

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def form_reader(content_type: str, limits: FormLimits = DEFAULT_LIMITS) -> Optional[FormReader]:
    """The reader for a body of `content_type`, the value of the field; None if that is no form.

    FormError 400 if it is malformed, or multipart/form-data without a boundary.
    """
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind == URLENCODED:
        # Imported here, as below: all plugins import this module, and few read forms.
        from lwsws.wire.form_urlencoded import UrlencodedReader
        return UrlencodedReader(limits)
    if kind != MULTIPART:
        return None
    from lwsws.wire.form_multipart import MultipartReader
    from lwsws.wire.parameters import parse_parameters
    try:
        _, parameters = parse_parameters(content_type)
    except ValueError as error:
        raise FormError(400, f"in the Content-Type: {error}") from None
    if "boundary" not in parameters:
        raise FormError(400, "the Content-Type multipart/form-data has no boundary")
    return MultipartReader(parameters["boundary"], limits)
