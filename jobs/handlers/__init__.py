"""The handlers by name: what each topic's subscription in the database leads to."""

from __future__ import annotations

from jobs.handlers import (
    apply_webhook,
    close_intent,
    close_orphans,
    credit_merchant,
    list_changes,
    observe_payment,
    post_children,
    post_dispute,
    post_fact,
    post_payout,
    post_refund,
    prove_balance,
    read_payout,
    release_funds,
    run_operation,
    submit_payment,
    watch_outcome,
    watch_settlement,
)
from jobs.handlers.handler import Handler, LocalHandler, RemoteHandler

HANDLERS: dict[str, Handler] = {
    handler.name: handler
    for handler in (
        submit_payment.HANDLER,
        run_operation.HANDLER,
        close_intent.HANDLER,
        close_orphans.HANDLER,
        watch_outcome.HANDLER,
        watch_settlement.HANDLER,
        observe_payment.HANDLER,
        apply_webhook.HANDLER,
        credit_merchant.HANDLER,
        release_funds.HANDLER,
        post_fact.HANDLER,
        post_payout.HANDLER,
        list_changes.HANDLER,
        prove_balance.HANDLER,
        read_payout.HANDLER,
        post_refund.HANDLER,
        post_dispute.HANDLER,
        post_children.HANDLER,
    )
}

__all__ = ["HANDLERS", "Handler", "LocalHandler", "RemoteHandler"]
