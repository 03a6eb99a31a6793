"""Owns the one page a person sees: the 3-D Secure challenge with its two buttons."""

from html import escape
from urllib.parse import urlencode

from cli.sandbox.objects.confirmations import authenticate
from cli.sandbox.objects.payment_intents import find_intent
from cli.sandbox.table import Row
from cli.sandbox.world import World

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>3-D Secure test page</title>
<style>body{{font:16px system-ui;max-width:26rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.6rem 1rem}}
</style><h1>3-D Secure</h1>{inside}</html>"""
FORM = """<p>The card's bank asks whether you want to pay <strong>{amount} {currency}</strong>.</p>
<p>This is the sandbox: no money moves. Payment intent <code>{ident}</code>.</p>
<form method="post"><button name="outcome" value="success">Complete</button>
<button name="outcome" value="failure">Fail</button></form>"""


def show_challenge(world: World, ident: str) -> str:
    """The page for a payment intent that requires action, or one that says what became of it."""
    intent = find_intent(world, ident)
    if intent["status"] != "requires_action":
        return PAGE.format(inside=f"<p>Nothing to do: the payment is {escape(intent['status'])}.</p>")
    return PAGE.format(
        inside=FORM.format(amount=intent["amount"], currency=escape(intent["currency"].upper()), ident=escape(ident))
    )


def press(world: World, ident: str, outcome: str) -> str | None:
    """Complete or fail the authentication; where the payer's browser goes next, or None without a return_url."""
    intent = find_intent(world, ident)
    if intent["status"] == "requires_action":
        authenticate(world, intent, outcome == "success")
    return _return_to(intent)


def _return_to(intent: Row) -> str | None:
    url: str | None = intent["_return_url"]
    if not url:
        return None
    arguments = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "failed" if intent["status"] == "requires_payment_method" else "succeeded",
    }
    return f"{url}{'&' if '?' in url else '?'}{urlencode(arguments)}"
