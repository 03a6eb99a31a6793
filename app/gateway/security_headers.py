"""Puts on every answer what keeps browsers from doing harm with it; a view that knows better has said so before."""

from __future__ import annotations

from flask import Response, request

# An answer of the API is data and not a page: whatever it is mistaken for, it loads nothing and is framed by nobody.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# A page loads its own files, with no inline script or style, and talks to us alone.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A year, the least that browsers' preload lists ask for. Sent only where the proxy says that the client came by TLS.
TRANSPORT = "max-age=31536000"

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Payments belong in no cache on the way; what may be kept says so itself.
    "Cache-Control": "no-store",
}


def end(response: Response) -> Response:
    wanted = {**ALWAYS, "Content-Security-Policy": PAGE_POLICY if response.mimetype == "text/html" else DATA_POLICY}
    if request.is_secure:
        wanted["Strict-Transport-Security"] = TRANSPORT
    # not `setdefault`, which reads all headers again for each of them
    given = {name.lower() for name, _ in response.headers}
    response.headers.extend([(name, value) for name, value in wanted.items() if name.lower() not in given])
    return response
