"""The SQL of one payment from POST to confirmed as a pgbench script: the same statements, no provider, no Python."""

from __future__ import annotations

from app.model.api_key import ApiKey
from tests.bench.accept import script_of_one_post
from tests.bench.script import acting, literal, statement

HANDLER = "submit_payment"
# An empty object and its hash: what a provider is asked is no part of what is measured.
NOTHING, NOTHING_SHA256 = "'{}'::jsonb", literal("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
PAYMENT = {"merchant_id": ":p_merchant_id", "payment_id": ":p_id"}
OPERATION = {"merchant_id": ":p_merchant_id", "operation_id": ":event_id"}
CIRCUIT = {"merchant_id": "'00000000-0000-0000-0000-000000000000'", "provider": "'stripe'", "account": "'default'"}
DELIVERY = {"merchant_id": ":p_merchant_id", "event_id": ":event_id", "handler": literal(HANDLER)}
REF = "'pi_' || :key::text"
WORKER = {
    "role": "'postbox_worker'", "statement_timeout": "'5000ms'", "lock_timeout": "'5000ms'",
    "idle_timeout": "'10000ms'", "actor_type": "'worker'", "actor_id": literal(HANDLER),
    "correlation_id": ":p_id", "causation_id": ":event_id",
}  # fmt: skip


def script_of_one_payment(key: ApiKey) -> str:
    """The POST, then the three transactions of a submit: claim, created, confirmed."""
    return "\n".join([script_of_one_post(key), *_claim(), *_created(), *_confirmed()])


def _claim() -> list[str]:
    return [
        "set role postbox_worker;",
        "select event_id, job_id from deliveries where merchant_id = :p_merchant_id and payment_id = :p_id"
        f" and status <> 'done' and handler = {literal(HANDLER)} \\gset",
        acting("transactions.begin_as", WORKER) + ";",
        statement("deliveries.claim", **DELIVERY, job_id=":job_id", provider="'stripe'") + ";",
        statement("payments.lock", **PAYMENT) + ";",
        statement(
            "operations.open", **OPERATION, payment_id=":p_id", kind="'submit'", step="'create'", amount="null",
            reason="null", target_ref="null", params=NOTHING, params_sha256=NOTHING_SHA256,
        ) + ";",
        statement("payments.move", **PAYMENT, state="'submitting'", failure_code="null", failure_message="null") + ";",
        statement("payments.lock", **PAYMENT) + ";",
        statement("operations.lock", **OPERATION) + ";",
        statement("circuits.admit", **CIRCUIT, open_for="30.0::float8") + ";",
        *_open_call("create"),
        "commit;",
    ]  # fmt: skip


def _created() -> list[str]:
    return [
        acting("transactions.begin_as", WORKER) + ";",
        *_complete_call("create"),
        statement("payments.set_provider_ref", **PAYMENT, provider_ref=REF) + ";",
        statement("payments.lock", **PAYMENT) + ";",
        *_open_call("confirm"),
        "commit;",
    ]


def _confirmed() -> list[str]:
    nothing = dict.fromkeys(
        ("amount_authorized", "amount_captured", "capture_before", "next_action_type", "next_action_url",
         "failure_code", "failure_message", "failure_retryable", "cancel_reason"), "null",
    )  # fmt: skip
    step = PAYMENT | {
        "provider_ref": REF, "latest_charge_ref": "'ch_' || :key::text", "action_window": "86400.0::float8",
        "money_after_final": "false",
    }  # fmt: skip
    fact = PAYMENT | {
        "provider": "'stripe'", "account": "'default'", "ref": "'txn_' || :key::text", "kind": "'charge'",
        "source_ref": "'ch_' || :key::text", "currency": "'usd'", "gross": "1000", "fee": "59", "net": "941",
        "status": "'pending'", "available_on": "now() + interval '2 days'", "created_at": "now()",
        "refund_id": "null::uuid", "dispute_id": "null::uuid", "exchanged": "false",
    }  # fmt: skip
    closing = PAYMENT | {
        "settles": "false", "provider_ref": REF, "latest_charge_ref": "'ch_' || :key::text", "rank": "60",
        "asked_at": "null::timestamptz", "method_last4": "'4242'", "observe": "'in'", "wait": "172800.0::float8",
    }  # fmt: skip
    return [
        acting("transactions.begin_as", WORKER) + ";",
        *_complete_call("confirm"),
        statement("payments.lock", **PAYMENT) + ";",
        statement("payments.take_step", **step | nothing, state="'submitted'") + ";",
        statement("payments.take_step", **step | nothing | {"amount_captured": "1000"}, state="'confirmed'") + ";",
        statement("provider_transactions.upsert", **fact) + ";",
        statement("provider_transactions.charge_of", **PAYMENT) + ";",
        statement("payments.close_observation", **closing) + ";",
        _settle("confirm", status="'succeeded'", outcome="'ok'", outcome_code="'succeeded'"),
        statement("deliveries.finish", **DELIVERY) + ";",
        "commit;",
        statement("deliveries.delete_job", job_id=":job_id::bigint") + ";",
        "reset role;",
    ]


def _settle(step: str, *, status: str, outcome: str = "null", outcome_code: str = "null") -> str:
    return statement(
        "operations.settle_lease", **OPERATION, lease_token=":token", status=status, step=literal(step), asks="0",
        outcome=outcome, outcome_code=outcome_code, outcome_message="null",
    ) + ";"  # fmt: skip


def _open_call(step: str) -> list[str]:
    # chr(58) is a colon: pgbench takes one inside a literal for a variable of its own
    key = f"concat_ws(chr(58), :event_id::text, {literal(step)}, '1')"
    return [
        statement(
            "operations.begin_attempt", **OPERATION, step=literal(step), n="1", idempotency_key=key,
            proof_call_id="null::uuid",
        ) + ";",
        "select gen_random_uuid() as token, uuidv7() as call \\gset",
        statement(
            "operations.lease", **OPERATION, step=literal(step), attempt="1", asks="0", lease_token=":token",
            seconds="30.0::float8",
        ) + ";",
        statement(
            "operations.open_call", **PAYMENT, **{"operation_id": ":event_id"}, call_id=":call", provider="'stripe'",
            account="'default'", step=literal(step), attempt="1", method="'POST'", path="'/v1/payment_intents'",
            idempotency_key=key, request=NOTHING, request_sha256=NOTHING_SHA256,
        ) + ";",
    ]  # fmt: skip


def _complete_call(step: str) -> list[str]:
    return [
        statement("payments.lock", **PAYMENT) + ";",
        statement("operations.lock", **OPERATION) + ";",
        statement(
            "operations.complete_call", merchant_id=":p_merchant_id", call_id=":call", outcome="'ok'",
            http_status="200", replayed="false", provider_request_id="'req_' || :key::text", response=NOTHING,
            response_sha256=NOTHING_SHA256, error_class="null", error_detail="null", duration_ms="1", late="false",
        ) + ";",
        statement("circuits.close", **CIRCUIT) + ";",
    ]  # fmt: skip
